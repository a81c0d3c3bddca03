"""For whoever runs the broker: Prometheus metrics, and traces by OpenTelemetry."""

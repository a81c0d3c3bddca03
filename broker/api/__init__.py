"""The HTTP API, by subject. WebSockets are in ``links/``."""

"""What the broker's page is told, once a second: the fleet, its figures, kernels and money."""

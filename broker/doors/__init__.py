"""The broker's own doors for Jupyter front-ends: kernels whose front lives here (docs/jupyter-server.md)."""

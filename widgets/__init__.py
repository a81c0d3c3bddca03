"""Live pieces of user interface for notebooks."""

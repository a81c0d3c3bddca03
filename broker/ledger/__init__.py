"""The books: leases, kernels and tokens on disk, in SQLite by default or PostgreSQL by URL."""

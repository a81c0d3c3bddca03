"""The broker: API, leases, scheduling, ledger and relay."""

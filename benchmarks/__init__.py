"""``make bench``: Perijove beside plain ipykernel, ipyparallel and a bare WebSocket, in one run on one machine.

Nothing of this is installed with Perijove. `docs/benchmarks.md` says how each figure is taken and how to read it.
"""

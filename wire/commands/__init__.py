"""``%gpu`` lines: read, run and shown the same way in a local notebook, in the GPU kernel and in the broker."""

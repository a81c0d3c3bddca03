"""``%%gpu`` and ``%gpu``: run a cell on a remote GPU as if it had run at home."""

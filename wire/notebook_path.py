"""Which notebook a kernel belongs to: the path of its file, as whoever started it knows it. For its user's bill."""

from __future__ import annotations

MOST_CHARACTERS = 1024


def bounded(path: str) -> str:
    """At most so long that it can be kept; of a longer path the end, which tells more than its beginning."""
    return path if len(path) <= MOST_CHARACTERS else "…" + path[-(MOST_CHARACTERS - 1) :]

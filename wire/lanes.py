"""Which of the messages that wait to be written goes first: no interrupt waits behind cells, no cell behind data."""

from __future__ import annotations

from enum import IntEnum


class Lane(IntEnum):
    """The most urgent first. Within a lane the order is kept."""

    CONTROL = 0
    SHELL = 1
    BULK = 2

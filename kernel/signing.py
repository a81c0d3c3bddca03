"""Signatures of ZeroMQ messages: who does not have the connection file's key can neither send nor repeat one.

A message is: routing identities, a delimiter, the signature, then header, parent header, metadata, content (in JSON
bytes, which the signature covers) and buffers. Source: "The Wire Protocol" in jupyter_client's ``docs/messaging.rst``.
Nothing is parsed here, so that what is passed on stays the bytes it was.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Sequence

from ..wire.jupyter_frames import JupyterFrame, Part

DELIMITER = b"<IDS|MSG>"
REMEMBERED = 65536  # signatures, so that none is taken twice; as many as jupyter_client remembers
_SIGNED_PARTS = 4

Identity = tuple[bytes, ...]


class RefusedMessage(Exception):
    """What came is not a message that we may act on."""


class Signer:
    """Signs with, and checks against, one key. An empty key: no signatures, as the protocol has it."""

    def __init__(self, key: bytes, scheme: str) -> None:
        """Raises ValueError for a scheme that is not ``hmac-`` and a hash that this Python knows."""
        kind, _, digest = scheme.partition("-")
        if kind != "hmac" or digest not in hashlib.algorithms_available:
            raise ValueError(f"the signature scheme {scheme!r} is not known; use hmac-sha256")
        self._unkeyed = not key
        self._template = hmac.new(key, digestmod=digest)
        self._seen: set[bytes] = set()
        self._seen_in_order: deque[bytes] = deque()

    def signature(self, parts: Sequence[Part]) -> bytes:
        """Over header, parent header, metadata and content."""
        if self._unkeyed:
            return b""
        code = self._template.copy()
        for part in parts[:_SIGNED_PARTS]:
            code.update(part)
        return code.hexdigest().encode()

    def signed(self, frame: JupyterFrame) -> list[Part]:
        """A message as ZeroMQ carries it behind the identities."""
        parts = frame.parts
        return [DELIMITER, self.signature(parts), *parts]

    def opened(self, channel: str, received: Sequence[bytes]) -> tuple[Identity, JupyterFrame]:
        """Who sent it, and the message.

        Raises:
            RefusedMessage: when it is torn, not signed with the key, or a repeat.
        """
        try:
            at = received.index(DELIMITER)
        except ValueError:
            raise RefusedMessage("it has no delimiter") from None
        parts = received[at + 2 :]
        if len(parts) < _SIGNED_PARTS:
            raise RefusedMessage("it is too short")
        if not self._unkeyed:
            self._check(received[at + 1], parts)
        header, parent_header, metadata, content, *buffers = parts
        frame = JupyterFrame(channel, header, parent_header, metadata, content, tuple(buffers))
        return tuple(received[:at]), frame

    def _check(self, signature: bytes, parts: Sequence[bytes]) -> None:
        if not hmac.compare_digest(signature, self.signature(parts)):
            raise RefusedMessage("its signature is not made with this kernel's key")
        if signature in self._seen:
            raise RefusedMessage("it repeats an earlier one")
        self._seen.add(signature)
        self._seen_in_order.append(signature)
        if len(self._seen_in_order) > REMEMBERED:
            self._seen.discard(self._seen_in_order.popleft())

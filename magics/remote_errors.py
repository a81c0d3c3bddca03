"""A remote exception, raised locally under its own name and with the remote traceback."""

from __future__ import annotations

from ..wire.errors import RemoteError
from .messages import Document


def remote_error(content: Document) -> RemoteError:
    """The exception for an ``error`` message's (or error reply's) content.

    Its type is made on the spot with the remote name, as a RemoteError: the real class may not exist here, and an
    exception is never unpickled.
    """
    name = str(content.get("ename") or "Exception")
    lines = [str(line) for line in content.get("traceback") or []]
    text = str(content.get("evalue", ""))

    def render_traceback(self: RemoteError) -> list[str]:
        return lines or [f"{name}: {text}"]

    error_type = type(name, (RemoteError,), {"_render_traceback_": render_traceback, "__module__": "perijove.remote"})
    error: RemoteError = error_type(text)
    return error

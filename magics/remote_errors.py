"""A remote exception, raised locally under its own name and with the remote traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.errors import RemoteError
from .messages import Document

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def remote_error(content: Document, *, shown: bool = False) -> RemoteError:
    """The exception for an error reply's content. ``shown``: the cell's output has told of it already.

    Its type is made on the spot with the remote name, as a RemoteError: the real class may not exist here, and an
    exception is never unpickled.
    """
    name = str(content.get("ename") or "Exception")
    lines = [str(line) for line in content.get("traceback") or []]
    text = str(content.get("evalue", ""))

    def render_traceback(self: RemoteError) -> list[str]:
        return lines if lines or shown else [f"{name}: {text}"]

    members = {"_render_traceback_": render_traceback, "_shown": shown, "__module__": "perijove.remote"}
    error: RemoteError = type(name, (RemoteError,), members)(text)
    return error


def show_errors_once(shell: InteractiveShell) -> Callable[[], None]:
    """Let the shell show no error that the cell's output has shown; returns what undoes this.

    ``SystemExit``, exception groups and errors with a handler of the user's are shown in ways of their own, which are
    relayed as the output they are. The shell must still learn of the error, for the reply and so that Run All stops.
    """
    patched: Any = shell
    show = patched._showtraceback

    def show_once(kind: type[BaseException], error: BaseException, lines: list[str]) -> None:
        if getattr(error, "_shown", False):
            patched._last_traceback = lines
        else:
            show(kind, error, lines)

    def undo() -> None:
        patched.__dict__.pop("_showtraceback", None)

    patched._showtraceback = show_once
    return undo

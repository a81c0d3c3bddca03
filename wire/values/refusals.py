"""What never travels, whatever ``pickle`` would make of it.

Some of these do pickle, and that is worse: an open file arrives as a copy of its text, a pyplot figure opens itself
again and plots twice, a widget arrives as a second widget without a front-end. All of them are bound to the
process they live in, so they stay there.
"""

from __future__ import annotations

import io
import mmap
import socket
import threading
import types
import weakref

_LOCKS: tuple[type, ...] = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event)
_BUILTIN: tuple[tuple[tuple[type, ...], str], ...] = (
    ((types.GeneratorType,), "a generator, which is code stopped in the middle"),
    ((types.CoroutineType, types.AsyncGeneratorType), "a coroutine, which is code stopped in the middle"),
    ((types.FrameType, types.TracebackType), "a stack frame of its process"),
    (_LOCKS, "a lock of its process"),
    ((threading.Thread,), "a thread of its process"),
    ((socket.socket,), "an open network connection"),
    ((mmap.mmap,), "a mapped file"),
    ((weakref.ReferenceType,), "a weak reference"),
)
# By name, because none of these libraries is imported on our account: (root module, class) in the type's ancestry.
_BY_NAME: dict[tuple[str, str], str] = {
    ("matplotlib", "Artist"): "a matplotlib object that is drawn in its process",
    ("matplotlib", "FigureCanvasBase"): "a matplotlib canvas",
    ("matplotlib", "FigureManagerBase"): "a matplotlib window",
    ("ipywidgets", "Widget"): "a widget, which belongs to its kernel",
    ("IPython", "InteractiveShell"): "the IPython shell of its process",
    ("multiprocessing", "BaseProcess"): "a process",
    ("concurrent", "Executor"): "a pool of workers of its process",
    ("asyncio", "BaseEventLoop"): "an event loop of its process",
    ("sqlite3", "Connection"): "an open database connection",
    ("tqdm", "tqdm"): "a progress bar of its process",
}

_known: weakref.WeakKeyDictionary[type, str | None] = weakref.WeakKeyDictionary()


def refusal(kind: type) -> str | None:
    """Why instances of ``kind`` stay in their process, as a noun phrase; ``None`` when pickling may try."""
    try:
        return _known[kind]
    except KeyError:
        found = _known[kind] = _look_up(kind)
        return found


def _look_up(kind: type) -> str | None:
    for types_, reason in _BUILTIN:
        if issubclass(kind, types_):
            return reason
    if issubclass(kind, io.IOBase) and not issubclass(kind, (io.BytesIO, io.StringIO)):
        return "an open file"
    for ancestor in kind.__mro__:
        reason_by_name = _BY_NAME.get((ancestor.__module__.partition(".")[0], ancestor.__name__))
        if reason_by_name is not None:
            return reason_by_name
    return None

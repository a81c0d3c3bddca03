"""What a front wants done, in order. Whoever holds the front carries it out at once, and never waits in between."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..jupyter_frames import JupyterFrame

Client = Hashable
"""Where a message came from and its answer goes: a ZeroMQ identity, a WebSocket. Only compared."""


@dataclass(frozen=True, slots=True)
class ToClient:
    """Give a message on shell, control or stdin to one front-end; one that has left misses it."""

    client: Client
    frame: JupyterFrame


@dataclass(frozen=True, slots=True)
class Publish:
    """Give a message on iopub to all front-ends. ``own``: the front says it, not the process."""

    frame: JupyterFrame
    own: bool = False


@dataclass(frozen=True, slots=True)
class ToProcess:
    """Send a message to the kernel's process over the numbered link; ``control`` goes on its control stream."""

    frame: JupyterFrame
    control: bool = False


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Interrupt the process: send ``request`` on control, naming the shell messages sent before it (``interrupting``
    makes that frame)."""

    request: JupyterFrame


@dataclass(frozen=True, slots=True)
class Attach:
    """Ask the broker for a GPU; the answer is told by ``attach_answered``. Asked at most once at a time."""


@dataclass(frozen=True, slots=True)
class CancelAttach:
    """Stop asking. ``attach_answered`` may still come, and is ignored then."""


@dataclass(frozen=True, slots=True)
class RunCommands:
    """Run ``%gpu`` lines one after the other, each as the user wrote it without ``%gpu``; the first that fails ends
    the run. The answer is told by ``commands_answered`` with the same ``token``."""

    token: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CancelCommands:
    """Stop running those commands; ``commands_answered`` then tells how they ended."""

    token: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Have the broker tell what the kernel and its GPUs do (``usage_received``), once a second from now on."""


@dataclass(frozen=True, slots=True)
class Fulfil:
    """Do what a button of the panel asks for (:class:`~..panel.panel.Wish`, but an interrupt); ``wish_ended`` tells
    what came of it."""

    wish: str


@dataclass(frozen=True, slots=True)
class WakeUp:
    """Call ``tick`` when so many seconds have passed; an earlier wish for that is void."""

    after_s: float


@dataclass(frozen=True, slots=True)
class ShutDown:
    """A front-end has asked for the end of this kernel, and been answered. ``restart``: it will start it again."""

    restart: bool


Instruction = (
    ToClient
    | Publish
    | ToProcess
    | Interrupt
    | Attach
    | CancelAttach
    | RunCommands
    | CancelCommands
    | Watch
    | Fulfil
    | WakeUp
    | ShutDown
)

"""The front of one kernel: messages in, instructions out; no socket, thread or clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import PerijoveError
from ..jupyter_frames import JupyterFrame
from ..models import KernelView
from .answers import CommandAnswer
from .instructions import Client, Instruction


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """``session`` is in every header that front-ends see, whichever process or program wrote it."""

    session: str
    gpu_spec: str
    wait_shown_after_s: float = 1.0  # how long a cell waits for its GPU before its output says so


class Front:
    """Every method returns what is to be done now. ``now_s`` is a monotonic time in seconds."""

    def __init__(self, settings: FrontSettings, new_id: Callable[[], str]) -> None: ...

    # front-ends ---------------------------------------------------------------------------------------------------

    def from_client(self, client: Client, frame: JupyterFrame, now_s: float) -> list[Instruction]:
        """A front-end's message on shell, control or stdin."""
        raise NotImplementedError

    def client_left(self, client: Client) -> list[Instruction]:
        """A front-end's connection is gone; its cells run on."""
        raise NotImplementedError

    # the process --------------------------------------------------------------------------------------------------

    def from_process(self, frame: JupyterFrame, now_s: float) -> list[Instruction]:
        """A message of the process; carry out what is returned before telling the link that it was taken."""
        raise NotImplementedError

    # the broker ---------------------------------------------------------------------------------------------------

    def view_changed(self, view: KernelView, now_s: float) -> list[Instruction]:
        """The broker's word on this kernel, whenever it changes; tells of new and ended processes as well."""
        raise NotImplementedError

    def attach_answered(self, error: PerijoveError | None, now_s: float) -> list[Instruction]:
        """Attached (the view has said so before), or why not."""
        raise NotImplementedError

    def undeliverable(self, now_s: float) -> list[Instruction]:
        """What was sent crossed a release; the link keeps it and sends it again once the kernel is attached."""
        raise NotImplementedError

    def messages_lost(self, count: int, now_s: float) -> list[Instruction]:
        """So many messages of the process are gone for good."""
        raise NotImplementedError

    def lost(self, error: PerijoveError, now_s: float) -> list[Instruction]:
        """The broker refuses this kernel for good; the next Attach is for a new one."""
        raise NotImplementedError

    def commands_answered(
        self, token: str, answers: Sequence[CommandAnswer], error: BaseException | None, now_s: float
    ) -> list[Instruction]:
        """What ``%gpu`` lines came to: the answers so far, and the error that ended them."""
        raise NotImplementedError

    def restarted(self, now_s: float) -> list[Instruction]:
        """The kernel was restarted by somebody's wish: cells begin at 1 and nothing of the old process is missed."""
        raise NotImplementedError

    # time ---------------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[Instruction]:
        """The time of the last WakeUp has come."""
        raise NotImplementedError

    # reading ------------------------------------------------------------------------------------------------------

    @property
    def execution_state(self) -> str:
        """Jupyter's word for what front-ends see: ``busy`` or ``idle``."""
        raise NotImplementedError


def interrupting(request: JupyterFrame, shell_seq: int) -> JupyterFrame:
    """An ``interrupt_request`` that says how far the shell stream was (docs/protocol.md §2)."""
    raise NotImplementedError

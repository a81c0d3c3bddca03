"""Comms of the remote kernel, at home in the local one: widgets made in a ``%%gpu`` cell work in both directions.

For each comm that the remote kernel opens, a comm of the same id is registered in the local kernel, not as its owner
but as its stand-in: what comes from the remote side is published under the parent it came with, what the front-end
sends is passed on. The front-end's handlers run where ipykernel runs them (the main thread, or a subshell's in
JupyterLab); there they wait until the remote kernel has handled the message, as local handlers would keep it busy,
because a front-end stops listening for a message's output at ``idle`` (an ``Output`` widget would stay empty).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .messages import Document, Message, make_frame, new_header
from .outputs import Outputs
from .widget_mirrors import WidgetMirrors

log = logging.getLogger(__name__)

BEGUN_WITHIN_S = 10.0
LOOK_AGAIN_S = 1.0
SUBSHELL_WITHIN_S = 5.0
HELD_PER_COMM = 32


class RemoteSide(Protocol):
    """What the relay needs of the remote kernel."""

    def send_frame(self, frame: bytes, *, control: bool = False) -> None: ...
    def interrupt(self) -> None:
        """Interrupt what runs over there."""

    def is_reachable(self) -> bool:
        """Whether a message sent now would be handled without attaching a GPU."""

    def pump_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Relay, or wait for whoever relays, until the condition is false."""


@dataclass(slots=True)
class _Handling:
    """How far the remote kernel is with a message of the front-end's."""

    begun: bool = False
    over: bool = False


class CommRelay:
    """The comms of one remote kernel."""

    def __init__(self, outputs: Outputs, remote: RemoteSide) -> None:
        self._outputs = outputs
        self._remote = remote
        self._comms: dict[str, Any] = {}
        self._mirrors = WidgetMirrors()
        self._awaited: dict[str, _Handling] = {}
        self._held: dict[str, list[Message]] = {}
        self._subshell = _Subshell(remote)

    # from the remote kernel ----------------------------------------------------------------------------------

    def relay(self, message: Message) -> None:
        """A comm message on the remote IOPub."""
        if self._outputs.kernel is None:
            return  # a terminal has no widgets
        comm_id = str(message.content.get("comm_id", ""))
        match message.type:
            case "comm_open":
                self._register(comm_id, message)
                self._mirrors.opened(comm_id, message)
            case "comm_msg":
                self._mirrors.updated(comm_id, message.content.get("data", {}), message.buffers)
            case "comm_close":
                self._forget(comm_id)
        self._outputs.forward(message)

    def status(self, message: Message) -> bool:
        """A ``status`` message; true when it ends the handling of a message that we passed on."""
        handling = self._awaited.get(message.parent_id)
        if handling is None:
            return False
        handling.begun = True
        handling.over = message.content.get("execution_state") == "idle"
        return handling.over

    def subshell_created(self, reply: Message) -> None:
        self._subshell.created(reply)

    def remote_ended(self) -> None:
        """The remote process is gone: its widgets show their last state and answer no more."""
        self._comms.clear()
        self._held.clear()
        for handling in list(self._awaited.values()):
            handling.over = True
        self._subshell.forget()

    def resumed(self) -> None:
        """The kernel can be reached again: what was held goes on its way."""
        held, self._held = self._held, {}
        for messages in held.values():
            for message in messages:
                self._send(message)

    # from the front-end --------------------------------------------------------------------------------------

    def _register(self, comm_id: str, message: Message) -> None:
        comm = _stand_in(str(message.content.get("target_name", "")), comm_id)
        comm.on_msg(self._front_end_said)
        comm.on_close(self._front_end_closed)
        _comm_manager().register_comm(comm)
        self._comms[comm_id] = comm

    def _forget(self, comm_id: str) -> None:
        comm = self._comms.pop(comm_id, None)
        self._mirrors.closed(comm_id)
        if comm is not None:
            comm._closed = True  # its counterpart closed it; closing it here must not say so again
            _comm_manager().unregister_comm(comm)

    def _front_end_said(self, raw: Document) -> None:
        message = _front_end_message("comm_msg", raw)
        data = message.content.get("data", {})
        self._mirrors.updated(str(message.content["comm_id"]), data, message.buffers)
        self._pass_on(message)

    def _front_end_closed(self, raw: Document) -> None:
        message = _front_end_message("comm_close", raw)
        comm_id = str(message.content["comm_id"])
        self._mirrors.closed(comm_id)
        self._pass_on(message)
        self._comms.pop(comm_id, None)

    def _pass_on(self, message: Message) -> None:
        """Send a message on its way and wait until it is handled, however long: a callback may train for an hour."""
        comm_id = str(message.content["comm_id"])
        if comm_id not in self._comms:
            return  # its process is gone; another would only complain that it knows no such comm
        if not self._remote.is_reachable():
            self._hold(comm_id, message)
            return
        message_id = str(message.header["msg_id"])
        handling = self._awaited[message_id] = _Handling()
        try:
            self._send(message)
            self._remote.pump_while(lambda: not handling.begun and not handling.over, BEGUN_WITHIN_S)
            while handling.begun and not handling.over and self._remote.is_reachable():
                self._remote.pump_while(lambda: not handling.over, LOOK_AGAIN_S)
        except KeyboardInterrupt:
            self._remote.interrupt()
            raise
        finally:
            self._awaited.pop(message_id, None)

    def _hold(self, comm_id: str, message: Message) -> None:
        """Keep a message until the kernel has a GPU again. A state that a later one replaces is not worth keeping."""
        held = self._held.setdefault(comm_id, [])
        state = _updated_names(message)
        held[:] = [earlier for earlier in held if not (_updated_names(earlier) and _updated_names(earlier) <= state)]
        held.append(message)
        del held[:-HELD_PER_COMM]

    def _send(self, message: Message) -> None:
        extra = {}
        if threading.current_thread() is not threading.main_thread() and (subshell := self._subshell.id()):
            extra["subshell_id"] = subshell
        header = new_header(message.type, like=message.header, **extra)
        self._remote.send_frame(
            make_frame("shell", header, message.content, metadata=message.metadata, buffers=message.buffers)
        )


class _Subshell:
    """The remote subshell that handles comm messages while the remote main thread runs a cell.

    Made when the front-end's first message arrives on a thread of its own, which is how JupyterLab uses subshells.
    """

    def __init__(self, remote: RemoteSide) -> None:
        self._remote = remote
        self._lock = threading.Lock()
        self._id: str | None = None
        self._request_id = ""
        self._answered = threading.Event()

    def id(self) -> str | None:
        with self._lock:
            if self._id is None and not self._request_id:
                self._request()
            return self._id

    def created(self, reply: Message) -> None:
        if reply.parent_id == self._request_id:
            self._id = reply.content.get("subshell_id")
            self._answered.set()

    def forget(self) -> None:
        self._id, self._request_id = None, ""
        self._answered = threading.Event()

    def _request(self) -> None:
        from jupyter_client.session import new_id_bytes  # not at import time: it is only needed with widgets

        self._request_id = new_id_bytes().decode()
        header = new_header("create_subshell_request", like={"msg_id": self._request_id, "session": self._request_id})
        self._remote.send_frame(make_frame("control", header, {}), control=True)
        answered = self._answered
        self._remote.pump_while(lambda: not answered.is_set(), SUBSHELL_WITHIN_S)


def _updated_names(message: Message) -> set[str]:
    """The traits that a widget's message updates; none when it does something else."""
    data = message.content.get("data", {})
    if data.get("method") != "update":
        return set()
    return {*data.get("state", {}), *(str(path[0]) for path in data.get("buffer_paths", []))}


def _front_end_message(msg_type: str, raw: Document) -> Message:
    return Message(
        "shell",
        {**raw["header"], "msg_type": msg_type},
        {},
        raw.get("metadata", {}),
        raw["content"],
        tuple(raw.get("buffers", ())),
    )


def _stand_in(target_name: str, comm_id: str) -> Any:
    import comm

    return comm.create_comm(target_name=target_name, comm_id=comm_id, primary=False)


def _comm_manager() -> Any:
    import comm

    return comm.get_comm_manager()

"""The requests of front-ends, and those that a process is busy with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..commands.cells import gpu_lines
from ..jupyter_frames import JupyterFrame, Part
from .instructions import Client
from .messages import Document, document, id_of, type_of

_WITHOUT_REPLY = frozenset({"comm_open", "comm_msg", "comm_close"})


@dataclass(slots=True)
class Request:
    """A message of a front-end's and how far it is. ``client`` is None for one of the front's own."""

    client: Client | None
    frame: JupyterFrame
    id: str
    type: str
    content: Document = field(default_factory=dict)  # of cells and comm messages; what else passes is not parsed
    busy_said: bool = False  # front-ends have heard that it is being dealt with, before the process said so
    begun: bool = False  # the process has said so
    replied: bool = False
    idle: bool = False
    lines: tuple[str, ...] | None = None  # the ``%gpu`` lines of a cell that has nothing else in it
    stopping: str = ""  # why the agent is about to stop it

    @property
    def is_cell(self) -> bool:
        return self.type == "execute_request"

    @property
    def counts(self) -> bool:
        """Whether it is a real cell: one that the user has run and that has a number."""
        return self.is_cell and not self.content.get("silent", False) and bool(self.content.get("store_history", True))

    @property
    def stops_others(self) -> bool:
        """Whether its error aborts the cells behind it."""
        return bool(self.content.get("stop_on_error", True))

    @property
    def code(self) -> str:
        return str(self.content.get("code", ""))


def read_request(client: Client | None, frame: JupyterFrame) -> Request:
    msg_type = type_of(frame.header)
    request = Request(client, frame, id_of(frame.header), msg_type, replied=msg_type in _WITHOUT_REPLY)
    if request.is_cell or msg_type in _WITHOUT_REPLY:
        request.content = document(frame.content)
    if request.counts:
        request.lines = gpu_lines(request.code)
    return request


class Outstanding:
    """What the process has been given and has not finished, in order. A request is over at its reply and its idle."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}
        self._unseen = 0  # of the front's own: nobody is to see what comes of them

    def __bool__(self) -> bool:
        return bool(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._requests.values()))

    @property
    def cells(self) -> list[Request]:
        """Front-ends' cells, hidden ones too."""
        return [request for request in self._requests.values() if request.is_cell and request.client is not None]

    def add(self, request: Request) -> None:
        self._requests[request.id] = request
        self._unseen += request.client is None

    def get(self, request_id: str) -> Request | None:
        return self._requests.get(request_id)

    def remove(self, request: Request) -> None:
        if self._requests.pop(request.id, None) is not None:
            self._unseen -= request.client is None

    def disown(self, request: Request) -> None:
        """Front-ends have been answered in the process's place; what it says later is not for them."""
        if request.id in self._requests and request.client is not None:
            request.client = None
            self._unseen += 1

    def is_unseen(self, parent_header: Part) -> bool:
        """Whether a message with this parent comes of one of the front's own requests."""
        if not self._unseen:
            return False
        request = self._requests.get(id_of(parent_header))
        return request is not None and request.client is None

    def take_all(self) -> list[Request]:
        requests, self._requests, self._unseen = list(self._requests.values()), {}, 0
        return requests

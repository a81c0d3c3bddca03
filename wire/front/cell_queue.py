"""The cells that the process has not been given: they wait for a GPU, or for ``%gpu`` lines to be run in their turn.

Cells run in the order in which they came. One of only ``%gpu`` lines waits for the cells before it like any other, and
needs no GPU itself; it is run by whoever holds the front.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..errors import AttachCancelled
from .answers import CommandAnswer
from .instructions import Attach, CancelAttach, CancelCommands, RunCommands
from .numbers import CellNumbers
from .requests import Outstanding, Request
from .saying import Saying
from .waiting import WaitingLine


class CellQueue:
    """``send`` gives a cell to the process."""

    def __init__(
        self,
        saying: Saying,
        numbers: CellNumbers,
        outstanding: Outstanding,
        waiting: WaitingLine,
        send: Callable[[Request], None],
        new_id: Callable[[], str],
    ) -> None:
        self._saying = saying
        self._numbers = numbers
        self._outstanding = outstanding
        self._waiting = waiting
        self._send = send
        self._new_id = new_id
        self._cells: deque[Request] = deque()
        self._asked = False  # for a GPU
        self._token = ""  # of the commands that run; the first cell is theirs
        self.attached = False
        self.stands_still = False  # what comes meanwhile waits

    def __bool__(self) -> bool:
        return bool(self._cells)

    @property
    def first(self) -> Request | None:
        return self._cells[0] if self._cells else None

    @property
    def commands(self) -> tuple[str, ...]:
        """The ``%gpu`` lines that run now."""
        return (self._cells[0].lines or ()) if self._token else ()

    def add(self, cell: Request, now_s: float) -> None:
        self._cells.append(cell)
        self.advance(now_s)

    def put_back(self, cells: Iterable[Request]) -> None:
        """Cells that a process was given and has not begun."""
        self._cells.extendleft(reversed(list(cells)))

    def advance(self, now_s: float) -> None:
        """Do with the first cells what can be done now."""
        while self._cells and not self._token and not self.stands_still:
            cell = self._cells[0]
            if cell.lines:
                if not self._outstanding.cells:
                    self._run_commands(cell)
                return
            if cell.lines is None or self.attached:
                if not self.attached:
                    self.want_gpu(cell, now_s)
                    return
                self._waiting.stop()
                self._cells.popleft()
                self._send(cell)
            else:
                self._cells.popleft()
                self._run_nothing(cell)

    def want_gpu(self, cell: Request, now_s: float) -> None:
        """A cell needs a GPU: ask for it, once, and say so if it takes long."""
        self._saying.begin(cell)
        self._waiting.start(cell, now_s)
        if not self._asked:
            self._asked = True
            self._saying.do(Attach())

    def _run_nothing(self, cell: Request) -> None:
        """A cell of comments and blanks, while there is no process to give it to."""
        if cell.code.strip():
            number = self._numbers.take()
            self._saying.begin(cell)
            self._saying.execute_input(cell, number)
        self._saying.cell_ok(cell, self._numbers.last)

    # the answers --------------------------------------------------------------------------------------------------

    def attach_answered(self, error: BaseException | None, now_s: float) -> bool:
        """Whether this was still asked for. An error is the first cell's."""
        if not self._asked:
            return False
        self._asked = False
        if error is None:
            self.advance(now_s)
        elif self._cells and not self._token:
            self._fail_first(error, now_s)
        return True

    def _fail_first(self, error: BaseException, now_s: float) -> None:
        self._waiting.stop()
        cell = self._cells.popleft()
        number = self._numbers.take()
        self._saying.begin(cell)
        self._saying.execute_input(cell, number)
        self._saying.cell_failed(cell, error, number)
        if cell.stops_others:
            self.abort()
        self.advance(now_s)

    def abort(self) -> None:
        """A cell failed: those behind it do not run. What runs already goes on."""
        kept = [self._cells.popleft()] if self._token else []
        for cell in self._cells:
            self._saying.cell_aborted(cell)
        self._cells = deque(kept)

    def interrupt(self, now_s: float) -> None:
        """Stop waiting, and stop commands."""
        if self._token:
            self._saying.do(CancelCommands(self._token))
        elif self._asked:
            self._asked = False
            self._saying.do(CancelAttach())
            stopped = AttachCancelled(
                f"stopped waiting for {self._waiting.gpu_spec}; nothing is held and nothing is billed"
            )
            if self._cells:
                self._fail_first(stopped, now_s)
            self._waiting.stop()

    # %gpu lines ---------------------------------------------------------------------------------------------------

    def _run_commands(self, cell: Request) -> None:
        self._token = self._new_id()
        self._saying.begin(cell)
        self._saying.execute_input(cell, self._numbers.take())
        self._saying.do(RunCommands(self._token, cell.lines or ()))

    def commands_answered(
        self, token: str, answers: Sequence[CommandAnswer], error: BaseException | None, now_s: float
    ) -> bool:
        """Whether these commands were a cell of this queue."""
        if not token or token != self._token:
            return False
        self._token = ""
        cell, number = self._cells.popleft(), self._numbers.last
        for answer in answers:
            if answer.text:
                self._saying.publish("stream", {"name": "stdout", "text": answer.text}, cell.frame.header)
        if error is None:
            if answers and answers[-1].data:
                self._saying.result(answers[-1], number, cell.frame.header)
            self._saying.cell_ok(cell, number)
        else:
            self._saying.cell_failed(cell, error, number)
            if cell.stops_others:
                self.abort()
        self.advance(now_s)
        return True

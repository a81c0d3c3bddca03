"""What keys do in ``perijove top``: select a row, ask before anything is done, and do it only on a plain yes.

Nothing here draws or talks to a broker: a key turns one state into the next, and perhaps into a wish.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..client.http import BrokerClient
from .top_picture import Document, Row, Sort, rows_of

NO_LEASE = "that kernel holds no GPU and waits for none: there is nothing to release"
SELECT_FIRST = "select a row first, with the arrow keys"


class Keys:
    """Makes keys of what a terminal sends: an arrow key is three characters."""

    UP, DOWN, SORT, RELEASE, DRAIN, QUIT, YES = "k", "j", "s", "r", "d", "q", "y"
    INTERRUPT, END = "\x03", "\x04"
    ESCAPE = "\x1b"
    _ARROWS: ClassVar = {"A": UP, "B": DOWN}

    def __init__(self) -> None:
        self._pending = ""

    def read(self, text: str) -> Iterator[str]:
        """An escape at the end of what was read may be a key of its own; the next read says."""
        self._pending += text
        while self._pending:
            if not self._pending.startswith(self.ESCAPE):
                key, self._pending = self._pending[0], self._pending[1:]
                yield key
            elif len(self._pending) == 1:
                self._pending = ""
                yield self.ESCAPE
            elif self._pending[1] not in "[O":
                self._pending = self._pending[1:]
                yield self.ESCAPE
            elif len(self._pending) == 2:
                return
            else:
                arrow = self._ARROWS.get(self._pending[2])
                self._pending = self._pending[3:]
                if arrow is not None:
                    yield arrow


@dataclass(frozen=True, slots=True)
class Wish:
    """Something to be done at the broker, the question before it, and what is said when it was asked for."""

    question: str
    done: str
    carry_out: Callable[[BrokerClient], Awaitable[Any]] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Selection:
    """The state of the screen besides what the broker says."""

    sort: Sort = Sort.COST
    row: Row | None = None
    asking: Wish | None = None
    said: str = ""


def looked(state: Selection, document: Document) -> Selection:
    """A row that is gone is selected no more; nor is anything asked about it."""
    if state.row is not None and state.row not in rows_of(document, state.sort):
        return replace(state, row=None, asking=None, said="what was selected is gone")
    return state


def after_key(state: Selection, document: Document, key: str) -> tuple[Selection, Wish | None]:
    if state.asking is not None:
        if key.lower() == Keys.YES:
            return replace(state, asking=None, said="asked the broker…"), state.asking
        return replace(state, asking=None, said="nothing was done"), None
    match key:
        case Keys.UP | Keys.DOWN:
            return replace(state, row=_moved(state, document, 1 if key == Keys.DOWN else -1), said=""), None
        case Keys.SORT:
            orders = list(Sort)
            return replace(state, sort=orders[(orders.index(state.sort) + 1) % len(orders)], said=""), None
        case Keys.RELEASE:
            return _asked(state, _release(state.row, document)), None
        case Keys.DRAIN:
            return _asked(state, _drain(state.row, document)), None
        case Keys.ESCAPE:
            return replace(state, row=None, said=""), None
    return state, None


def _moved(state: Selection, document: Document, by: int) -> Row | None:
    rows = rows_of(document, state.sort)
    if not rows:
        return None
    if state.row not in rows:
        return rows[0 if by > 0 else -1]
    return rows[min(len(rows) - 1, max(0, rows.index(state.row) + by))]


def _asked(state: Selection, wish: Wish | str) -> Selection:
    """``wish``: or why there is none."""
    return replace(state, said=wish) if isinstance(wish, str) else replace(state, asking=wish, said="")


def _release(row: Row | None, document: Document) -> Wish | str:
    if row is None:
        return SELECT_FIRST
    kernel = _kernel_of(row, document)
    if kernel is None:
        return "no kernel of yours holds that device"
    if kernel["lease"] is None and kernel["state"] != "queued":
        return NO_LEASE
    name = f"{kernel['user']} · {kernel['name']}"
    if kernel["state"] == "queued":
        effect = "it stops waiting"
    else:
        effect = "its variables are kept" if kernel["keeps_state"] else "its variables are LOST"
        if kernel["busy"]:
            effect = f"the cell that runs is interrupted, {effect}"
    return Wish(f"release {name}? {effect}", f"asked to release {name}", lambda broker: broker.release(kernel["id"]))


def _drain(row: Row | None, document: Document) -> Wish | str:
    if row is None:
        return SELECT_FIRST
    agent = _agent_of(row, document)
    if agent is None:
        return "that kernel is on no agent at the moment"
    name, agent_id = agent["name"], agent["id"]
    drain = agent.get("drain")
    if drain and drain["by_agent"]:
        return f"{name} has asked for that itself, and takes it back itself: kill -USR1 there, or start it anew"
    if drain:
        return Wish(
            f"have {name} take new work again?",
            f"{name} takes new work again",
            lambda broker: broker.undo_drain(agent_id),
        )
    return Wish(
        f"drain {name}? it takes no new work, idle kernels are released, what runs goes on",
        f"{name} drains; d takes that back",
        lambda broker: broker.drain(agent_id),
    )


def _kernel_of(row: Row, document: Document) -> dict[str, Any] | None:
    for kernel in document["kernels"]:
        if kernel["id"] == row.kernel_id or (row.uuid and row.uuid in (kernel["gpus"] or {}).get("uuids", ())):
            return dict(kernel)
    return None


def _agent_of(row: Row, document: Document) -> dict[str, Any] | None:
    agent_id = row.agent_id
    if row.kernel_id:
        kernel = _kernel_of(row, document)
        agent_id = (kernel["gpus"] or {}).get("agent_id", "") if kernel is not None else ""
    return next((dict(agent) for agent in document["agents"] if agent["id"] == agent_id), None)

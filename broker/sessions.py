"""Jupyter's sessions: which kernel belongs to which notebook, as VS Code and JupyterLab keep book of it.

They say nothing about what runs or costs. Kernels survive a restart of the broker, and so do these.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, insert, select

from .ledger.ledger import Ledger
from .ledger.tables import sessions

MOST_PER_USER = 1000


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    user: str
    kernel_id: str
    path: str
    name: str
    type: str


class Sessions:
    """``lives`` says whether a kernel is still there: a session goes with its kernel."""

    def __init__(self, ledger: Ledger, lives: Callable[[str], bool]) -> None:
        self._ledger = ledger
        self._lives = lives
        self._sessions: dict[str, Session] = {}

    async def load(self) -> None:
        rows = await self._ledger.call(lambda connection: connection.execute(select(sessions)).mappings().all())
        self._sessions = {row["id"]: Session(**row) for row in rows}
        await self._clear_away()

    def of(self, user: str | None) -> list[Session]:
        """A user's, or all."""
        return [
            session
            for session in self._sessions.values()
            if user in (None, session.user) and self._lives(session.kernel_id)
        ]

    def get(self, session_id: str, user: str | None) -> Session | None:
        session = self._sessions.get(session_id)
        return session if session is not None and session in self.of(user) else None

    def at(self, path: str, user: str) -> Session | None:
        """The user's session of a notebook."""
        return next((session for session in self.of(user) if session.path == path), None)

    async def create(self, user: str, kernel_id: str, path: str, name: str, kind: str) -> Session:
        await self._clear_away()
        session = Session(str(uuid.uuid4()), user, kernel_id, path, name, kind)
        await self._save(session)
        return session

    async def change(self, session: Session, **changes: str) -> Session:
        changed = replace(session, **changes)
        await self._save(changed)
        return changed

    async def remove(self, session: Session) -> None:
        await self._remove([session.id])

    async def _save(self, session: Session) -> None:
        self._sessions[session.id] = session
        row = {name: getattr(session, name) for name in Session.__slots__}

        def save(connection: Connection) -> None:
            connection.execute(delete(sessions).where(sessions.c.id == session.id))
            connection.execute(insert(sessions).values(row))

        await self._ledger.call(save)

    async def _clear_away(self) -> None:
        """Those whose kernels have ended."""
        gone = [session.id for session in self._sessions.values() if not self._lives(session.kernel_id)]
        if gone:
            await self._remove(gone)

    async def _remove(self, ids: Iterable[str]) -> None:
        ids = list(ids)
        for session_id in ids:
            self._sessions.pop(session_id, None)
        await self._ledger.call(lambda connection: connection.execute(delete(sessions).where(sessions.c.id.in_(ids))))

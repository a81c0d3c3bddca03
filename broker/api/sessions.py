"""``/api/sessions``, as Jupyter servers have it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from ...wire.errors import BrokerError
from ...wire.notebook_path import bounded
from ..broker import Broker
from ..core.events import KernelDeleted, NotebookNamed
from ..ledger.tokens import Identity
from ..sessions import MOST_PER_USER, Session
from .access import AsUser, TheBroker, visible_kernel, visible_to
from .documents import kernel_document
from .kernels import KernelWishes, NewKernel, no_such_kernel, start_kernel
from .kernelspecs import NoSuchKernelspec

router = APIRouter(prefix="/api/sessions", tags=["sessions"])

Text = Annotated[str, Field(max_length=4096)]


class WantedKernel(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(max_length=64)] | None = None
    name: Annotated[str, Field(max_length=100)] | None = None


class NewSession(BaseModel):
    model_config = ConfigDict(extra="ignore")

    path: Text
    name: Text | None = None
    type: Annotated[str, Field(max_length=64)] = "notebook"
    kernel: WantedKernel = Field(default_factory=WantedKernel)


class SessionChanges(BaseModel):
    model_config = ConfigDict(extra="ignore")

    path: Text | None = None
    name: Text | None = None
    type: Annotated[str, Field(max_length=64)] | None = None
    kernel: WantedKernel | None = None


class NoSuchSession(BrokerError):
    code = "no_such_session"


class TooManySessions(BrokerError):
    code = "too_many_sessions"


@router.get("")
async def list_sessions(broker: TheBroker, identity: AsUser) -> list[dict[str, Any]]:
    return [_document(broker, session) for session in broker.sessions.of(visible_to(identity))]


@router.post("", status_code=201)
async def create_session(body: NewSession, broker: TheBroker, identity: AsUser, response: Response) -> Any:
    """The session of a notebook; the one that is there, if there is one. A kernel is started, detached and free."""
    session = broker.sessions.at(body.path, identity.name)
    if session is None:
        if len(broker.sessions.of(identity.name)) >= MOST_PER_USER:
            raise TooManySessions(f"you have {MOST_PER_USER} sessions, which is the most; delete some")
        try:
            kernel_id = await _kernel_for(body.kernel, broker, identity, body.path)
        except NoSuchKernelspec as error:
            # 501 is what Jupyter servers answer here, and what their clients look for.
            return JSONResponse({"message": error.message, "short_message": "no such kernel", "code": error.code}, 501)
        name = body.path if body.name is None else body.name
        session = await broker.sessions.create(identity.name, kernel_id, body.path, name, body.type)
    response.headers["Location"] = f"/api/sessions/{session.id}"
    return _document(broker, session)


@router.get("/{session_id}")
async def get_session(session_id: str, broker: TheBroker, identity: AsUser) -> dict[str, Any]:
    return _document(broker, _visible(broker, identity, session_id))


@router.patch("/{session_id}")
async def change_session(
    session_id: str, changes: SessionChanges, broker: TheBroker, identity: AsUser
) -> dict[str, Any]:
    """Another path, name, type, or kernel; the kernel before is ended."""
    session = _visible(broker, identity, session_id)
    texts = {name: value for name in ("path", "name", "type") if (value := getattr(changes, name)) is not None}
    before = session.kernel_id
    if changes.kernel is not None and (changes.kernel.id or changes.kernel.name):
        texts["kernel_id"] = await _kernel_for(changes.kernel, broker, identity, texts.get("path", session.path))
    session = await broker.sessions.change(session, **texts)
    broker.happen(NotebookNamed(session.kernel_id, bounded(session.path)))
    if session.kernel_id != before:
        await _end(broker, before)
    return _document(broker, session)


@router.delete("/{session_id}", status_code=204)
async def delete_session(session_id: str, broker: TheBroker, identity: AsUser) -> None:
    """Ends its kernel as well."""
    session = _visible(broker, identity, session_id)
    await broker.sessions.remove(session)
    await _end(broker, session.kernel_id)


async def _kernel_for(wanted: WantedKernel, broker: Broker, identity: Identity, path: str) -> str:
    """The kernel that is wanted, and from now on put down to the session's notebook."""
    notebook = bounded(path)
    if wanted.id:
        kernel = visible_kernel(broker, identity, wanted.id)
        if kernel is None:
            raise no_such_kernel(wanted.id)
        broker.happen(NotebookNamed(kernel.id, notebook))
        return kernel.id
    body = NewKernel(name=wanted.name, perijove=KernelWishes(notebook=notebook))
    return (await start_kernel(body, broker, identity)).id


async def _end(broker: Broker, kernel_id: str) -> None:
    if broker.fleet.kernel(kernel_id) is not None:
        broker.happen(KernelDeleted(kernel_id))
        broker.doors.ended(kernel_id)
        await broker.ledger.durable()


def _visible(broker: Broker, identity: Identity, session_id: str) -> Session:
    session = broker.sessions.get(session_id, visible_to(identity))
    if session is None:
        raise NoSuchSession(f"there is no session {session_id[:64]!r} here; its kernel may have been ended")
    return session


def _document(broker: Broker, session: Session) -> dict[str, Any]:
    kernel = broker.fleet.kernel(session.kernel_id)
    document: dict[str, Any] = {
        "id": session.id,
        "path": session.path,
        "name": session.name,
        "type": session.type,
        "kernel": None if kernel is None else kernel_document(broker, kernel),
    }
    if session.type == "notebook":
        document["notebook"] = {"path": session.path, "name": session.name}
    return document

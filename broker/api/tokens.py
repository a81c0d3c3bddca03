"""``/api/tokens``: an admin makes tokens for users, agents and other admins; ``/api/me`` says whose token this is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ..audit import acting
from ..ledger.tokens import Role, create_token
from .access import AsAdmin, AsUser, TheBroker

router = APIRouter(prefix="/api", tags=["tokens"])


class NewToken(BaseModel):
    role: Role
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._@+-]{1,100}$")]


@router.post("/tokens", status_code=201)
async def post_token(body: NewToken, broker: TheBroker, _: AsAdmin) -> dict[str, Any]:
    """The token is in this answer and nowhere else: only its hash is kept."""
    by = acting()
    token = await broker.ledger.call(lambda connection: create_token(connection, body.role, body.name, by))
    return {"token": token, "role": body.role.value, "name": body.name}


@router.get("/me")
async def get_me(identity: AsUser) -> dict[str, Any]:
    """As Jupyter servers answer it, and the token's role."""
    person = {"username": identity.name, "name": identity.name, "display_name": identity.name}
    return {
        "identity": {**person, "initials": identity.name[:2].upper(), "avatar_url": None, "color": None},
        "permissions": {},
        "role": identity.role.value,
    }

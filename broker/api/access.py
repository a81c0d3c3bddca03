"""What every route needs: the broker, and who is asking."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from ..audit import act_as
from ..auth import Authenticator, require
from ..broker import Broker
from ..core.records import Kernel
from ..ledger.audit import Via
from ..ledger.tokens import Identity, Role


def get_broker(request: Request) -> Broker:
    broker: Broker = request.app.state.broker
    return broker


# Jupyter's own routes, where its clients may name the token in the address.
JUPYTERS = ("/api/kernels", "/api/kernelspecs", "/api/sessions", "/api/me", "/api/status")


async def get_user(request: Request) -> Identity:
    """A user or an admin; agents have no business here."""
    auth: Authenticator = request.app.state.auth
    query = request.scope["query_string"] if request.scope["path"].startswith(JUPYTERS) else b""
    identity = await auth.identify(dict(request.scope["headers"]), query)
    require(identity, Role.USER, Role.ADMIN)
    act_as(identity.name, Via.API)
    return identity


async def get_admin(identity: Annotated[Identity, Depends(get_user)]) -> Identity:
    require(identity, Role.ADMIN)
    return identity


TheBroker = Annotated[Broker, Depends(get_broker)]
AsUser = Annotated[Identity, Depends(get_user)]
AsAdmin = Annotated[Identity, Depends(get_admin)]


def visible_to(identity: Identity) -> str | None:
    """Whose things to show: an admin sees everyone's (None), a user their own."""
    return None if identity.role is Role.ADMIN else identity.name


def visible_kernel(broker: Broker, identity: Identity, kernel_id: str) -> Kernel | None:
    kernel = broker.fleet.kernel(kernel_id)
    if kernel is None or visible_to(identity) not in (None, kernel.user):
        return None
    return kernel

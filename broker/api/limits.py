"""``/api/limits``: what users may spend with all their kernels, ever and in a calendar month, and with each of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from ...wire.errors import NotAuthorized
from ...wire.models import BudgetScope, SetBy, UserLimits
from ...wire.money import MOST_BUDGET_NANODOLLARS, NANODOLLARS_PER_DOLLAR, dollars_to_nanodollars
from ..ledger.tokens import Role
from ..limits import limits_of, set_limit
from .access import AsUser, TheBroker

router = APIRouter(prefix="/api/limits", tags=["money"])

MOST_NAME_CHARACTERS = 100
Whose = Annotated[str | None, Query(max_length=MOST_NAME_CHARACTERS, description="an admin names anybody")]
User = Annotated[str, Path(min_length=1, max_length=MOST_NAME_CHARACTERS)]


class NewLimit(BaseModel):
    """``dollars``: a text keeps every digit; None removes the limit. ``set_by``: which one, where an admin has both."""

    model_config = ConfigDict(extra="forbid")

    scope: BudgetScope
    dollars: Annotated[Decimal, Field(ge=0, le=MOST_BUDGET_NANODOLLARS // NANODOLLARS_PER_DOLLAR)] | None
    set_by: SetBy | None = None


@router.get("")
async def get_limits(broker: TheBroker, identity: AsUser, user: Whose = None) -> dict[str, Any]:
    """One's own; an admin's token: everybody's, or those of ``user``."""
    if identity.role is not Role.ADMIN and user not in (None, identity.name):
        raise NotAuthorized("only an admin sees other users' budgets")
    everybody = identity.role is Role.ADMIN and user is None
    names = sorted({*broker.fleet.purses, identity.name}) if everybody else [user or identity.name]
    return {
        "month": broker.fleet.month_name,
        "users": [limits_of(broker, name).model_dump(mode="json") for name in names],
    }


@router.put("/{user}")
async def put_limit(user: User, body: NewLimit, broker: TheBroker, identity: AsUser) -> UserLimits:
    """Holds at once, for all kernels of the user, and after a restart. A user's own cannot exceed what an admin set."""
    nanodollars = None if body.dollars is None else dollars_to_nanodollars(str(body.dollars))
    return await set_limit(broker, identity, user, body.scope, nanodollars, body.set_by)

"""What users may spend, shown to and set by those who may: for the API, and for ``%gpu`` lines at the broker's door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.errors import NotAuthorized
from ..wire.models import BudgetScope, ScopeLimit, SetBy, UserLimits
from ..wire.money import format_dollars
from .core.events import LimitSet
from .core.purse import SHARED_SCOPES
from .ledger.tokens import Identity, Role

if TYPE_CHECKING:
    from .broker import Broker

OPTIONS = {BudgetScope.KERNEL: "--kernel", BudgetScope.USER: "--user-total", BudgetScope.MONTH: "--month"}


def limits_of(broker: Broker, user: str) -> UserLimits:
    """As of now; a user that nobody has heard of has no limits and has spent nothing."""
    month = broker.fleet.month_name
    return UserLimits(user=user, month=month, limits=[_limit(broker, user, scope) for scope in BudgetScope])


def _limit(broker: Broker, user: str, scope: BudgetScope) -> ScopeLimit:
    purse = broker.fleet.purses.get(user)
    if purse is None:
        spent = (0, 0) if scope in SHARED_SCOPES else (None, None)
        return ScopeLimit(scope=scope, spent_nanodollars=spent[0], spent_simulated_nanodollars=spent[1])
    holds = purse.limit(scope)
    own, upper = (purse.limits.get((scope, by)) for by in (SetBy.USER, SetBy.ADMIN))
    boot = broker.now().boot
    real, simulated = (
        purse.spent_at(scope, boot, simulated=simulated) if scope in SHARED_SCOPES else None
        for simulated in (False, True)
    )
    return ScopeLimit(
        scope=scope,
        own_nanodollars=None if own is None else own.nanodollars,
        admin_nanodollars=None if upper is None else upper.nanodollars,
        limit_nanodollars=None if holds is None else holds.nanodollars,
        set_by=None if holds is None else holds.set_by,
        by="" if holds is None else holds.by,
        spent_nanodollars=real,
        spent_simulated_nanodollars=simulated,
    )


async def set_limit(
    broker: Broker,
    asker: Identity,
    user: str,
    scope: BudgetScope,
    nanodollars: int | None,
    set_by: SetBy | None = None,
) -> UserLimits:
    """Holds when this returns, also after a restart. ``set_by`` None: as the asker's role has it; admins set their own
    for themselves, and others' as an admin.

    Raises:
        NotAuthorized: when the asker may not; the message says who may.
    """
    if asker.role is not Role.ADMIN:
        if user != asker.name or set_by is SetBy.ADMIN:
            raise NotAuthorized("only an admin sets other users' budgets, or one that its user cannot raise")
        set_by = SetBy.USER
        _within_admins(broker, user, scope, nanodollars)
    elif set_by is None:
        set_by = SetBy.USER if user == asker.name else SetBy.ADMIN
    elif set_by is SetBy.USER and user != asker.name:
        raise NotAuthorized(f"{user}'s own budget is {user}'s to set; set the one that holds for {user} as an admin")
    broker.happen(LimitSet(user, scope, set_by, nanodollars, asker.name))
    await broker.ledger.durable()
    return limits_of(broker, user)


def _within_admins(broker: Broker, user: str, scope: BudgetScope, nanodollars: int | None) -> None:
    """A user's own limit can be lower than an admin's, never higher; and removing what is not theirs is refused."""
    purse = broker.fleet.purses.get(user)
    upper = purse.limits.get((scope, SetBy.ADMIN)) if purse is not None else None
    if purse is None or upper is None:
        return
    removes_own = nanodollars is None and (scope, SetBy.USER) in purse.limits
    if removes_own or (nanodollars is not None and nanodollars <= upper.nanodollars):
        return
    raise NotAuthorized(
        f"{DESCRIBED[scope]} is at most {format_dollars(upper.nanodollars)}, set by {upper.by}, an admin; "
        f"an admin can raise it: `perijove budget --for {user} {OPTIONS[scope]} AMOUNT`"
    )


DESCRIBED = {
    BudgetScope.KERNEL: "what each of your kernels may cost",
    BudgetScope.USER: "your budget for all that you use",
    BudgetScope.MONTH: "your budget for a month",
}

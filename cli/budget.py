"""``perijove budget``: what one may spend, ever, in a month and with each kernel; for admins also what others may."""

from __future__ import annotations

from typing import Annotated

import typer

from ..client.http import BrokerClient
from ..wire.commands.budget import limit_text, read_amount
from ..wire.errors import UsageError
from ..wire.models import BudgetScope, SetBy, UserLimits
from .reports import JsonOption, ask

NONE = "none"
Month = Annotated[str | None, typer.Option(metavar="USD", help="For a calendar month (UTC); `none` removes it.")]
UserTotal = Annotated[str | None, typer.Option(metavar="USD", help="For all that you ever use; `none` removes it.")]
Kernel = Annotated[str | None, typer.Option(metavar="USD", help="For each of your kernels; `none` removes it.")]
For = Annotated[str | None, typer.Option("--for", metavar="NAME", help="A user, who cannot raise it: admins only.")]
Everybody = Annotated[bool, typer.Option("--all", help="Everybody's: admins only.")]


def register(app: typer.Typer) -> None:
    app.command()(budget)


def budget(
    month: Month = None,
    user_total: UserTotal = None,
    kernel: Kernel = None,
    whose: For = None,
    everybody: Everybody = False,
    as_json: JsonOption = False,
) -> None:
    """Budgets: without an amount, what there is, what is spent of it, and who set it."""
    wanted = {
        scope: None if text == NONE else read_amount(text, option, zero_too=True)
        for scope, option, text in (
            (BudgetScope.MONTH, "--month", month),
            (BudgetScope.USER, "--user-total", user_total),
            (BudgetScope.KERNEL, "--kernel", kernel),
        )
        if text is not None
    }
    if everybody and (wanted or whose is not None):
        raise UsageError("--all shows everybody's budgets; to set one, say whose: --for NAME")
    found: list[UserLimits] = ask(lambda broker: _set_and_show(broker, wanted, whose, everybody=everybody))
    if as_json:
        print("[" + ",\n".join(limits.model_dump_json(indent=2) for limits in found) + "]")
        return
    for limits in found:
        if everybody or whose is not None:
            print(f"{limits.user}:")
        for scope in BudgetScope:
            print(limit_text(limits, scope, yours=whose is None and not everybody))


async def _set_and_show(
    broker: BrokerClient, wanted: dict[BudgetScope, int | None], whose: str | None, *, everybody: bool
) -> list[UserLimits]:
    if everybody:
        return await broker.everybodys_limits()
    for scope, nanodollars in wanted.items():
        # Who names a user means the limit that holds for that user, even for themselves.
        await broker.set_limit(scope, nanodollars, whose, SetBy.ADMIN if whose is not None else None)
    return [await broker.limits(whose)]

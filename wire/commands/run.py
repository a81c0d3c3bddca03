"""``%gpu`` lines, run: one table of commands for every place where they can be written."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BrokerError, PerijoveError, UsageError
from ..front.answers import CommandAnswer, ShowPanel
from ..gpu_spec import parse_gpu_spec
from ..link import MOST_KEEP_S
from ..states import BudgetScope, KernelState
from .bill import BillReport, read_bill_options
from .budget import budget_text, left_text, limit_text, read_amount
from .cells import command_text
from .describing import describe_gpus, release_text
from .status import HEADINGS, status_row, told_of
from .surroundings import CommandedKernel, Surroundings
from .tables import Table, gpu_table

if TYPE_CHECKING:
    from ..models import UserLimits

NOTEBOOK_HELP = """%gpu                 what this notebook's kernels do
%gpu list            the GPUs there are, free and busy, and their prices
%gpu attach SPEC     have the GPU now, so that the next %%gpu cell starts at once
%gpu release         give it back now; variables are kept where that is possible
%gpu keep 10         do not release it by itself for so many minutes more
%gpu monitor         what it does and costs, live: a panel with charts and buttons
%gpu interrupt       interrupt what runs over there
%gpu restart         a new process over there; its variables are gone
%gpu bill            what this notebook has cost, day by day too; `--by gpu` (kernel, notebook, user, day) breaks it
                     down, `--embed` keeps a receipt in the notebook, `--all` is everything of yours
%gpu budget 5.00     what the kernel used last may cost altogether; `none` for no limit, nothing to see what is left
%gpu budget month 50 what you may spend in a calendar month (UTC) with all your kernels; `user 200`: ever
%gpu get NAME…       bring the full values of variables here
%gpu put NAME…       send variables there
%gpu help            this text; %%gpu? tells about cells
"""
KERNEL_HELP = """%gpu                 what this kernel does
%gpu list            the GPUs there are, free and busy, and their prices
%gpu attach          have the GPU now, so that the next cell starts at once
%gpu attach SPEC     another GPU from now on: H100, H100:2, H100|A100, 40GB, any, cpu
%gpu release         give it back now; variables are kept where that is possible
%gpu keep 10         do not release it by itself for so many minutes more
%gpu monitor         what it does and costs, live: a panel with charts and buttons
%gpu restart         a new process; all variables are gone. `%gpu restart SPEC`: on another GPU
%gpu bill            what this kernel has cost, day by day too; `--by gpu` (kernel, notebook, user, day) breaks it
                     down, `--embed` keeps a receipt in the notebook, `--all` is everything of yours
%gpu budget 5.00     what this kernel may cost altogether; `none` for no limit, nothing to see what is left
%gpu budget month 50 what you may spend in a calendar month (UTC) with all your kernels; `user 200`: ever
%gpu help            this text
Cells attach the GPU by themselves; cells of only such lines need none.
"""
_SHARED_SCOPES = {"month": BudgetScope.MONTH, "user": BudgetScope.USER}
KEEP_MINUTES = 10
LATER = ("env", "replay")


@dataclass(frozen=True, slots=True)
class Outcome:
    """``text`` is printed; ``table`` is the line's value; with it, or alone, the kernel's panel may be shown."""

    text: str = ""
    table: Table | None = None
    panel: ShowPanel | None = None

    @property
    def answer(self) -> CommandAnswer:
        if self.table is not None:
            return CommandAnswer(self.text, self.table.bundle(), self.table.metadata, self.panel)
        return CommandAnswer(self.text, panel=self.panel)


async def run_command(line: str, surroundings: Surroundings) -> Outcome:
    """Run what stands behind ``%gpu``.

    Raises:
        UsageError: when it cannot be read.
        PerijoveError: when it could not be done.
    """
    try:
        words = shlex.split(command_text(line))
    except ValueError as error:
        raise UsageError(f"%gpu: the line cannot be read ({error}); see %gpu help") from None
    name, arguments = (words[0], words[1:]) if words else ("status", [])
    command = COMMANDS.get(name)
    if command is None:
        if name in LATER:
            raise UsageError(f"%gpu {name} is not available in this version")
        raise UsageError(f"%gpu: there is no command {name!r}; see %gpu help")
    return await command(surroundings, arguments)


async def _status(here: Surroundings, arguments: list[str]) -> Outcome:
    rows = [
        [kernel.name, *status_row(kernel.view, kernel.view_age_s, _budget_left(kernel))]
        for kernel in here.kernels.values()
    ]
    nothing = "nothing is attached and nothing is billed; put %%gpu H100 above a cell, or see %gpu list"
    has_one = len(rows) == 1 and here.latest is not None and here.latest.view is not None
    table = Table(HEADINGS, rows, "" if rows else nothing)
    return Outcome(table=table, panel=ShowPanel.WHEN_DRAWN if has_one else None)


def _budget_left(kernel: CommandedKernel) -> str:
    return left_text(kernel.view, kernel.view_age_s) if kernel.view is not None else ""


async def _list(here: Surroundings, arguments: list[str]) -> Outcome:
    try:
        gpus, url = await here.gpus()
    except PerijoveError as error:
        return Outcome(table=Table([], [], f"no GPUs to list: {error}"))
    return Outcome(table=gpu_table(gpus, url))


async def _attach(here: Surroundings, arguments: list[str]) -> Outcome:
    if len(arguments) > 1:
        raise UsageError("%gpu attach takes one GPU spec, like %gpu attach H100")
    spec = parse_gpu_spec(arguments[0]) if arguments else None
    kernel = here.kernel_for(spec)
    attach_s = await kernel.attach(str(spec) if spec is not None and here.is_gpu_kernel else None)
    view = kernel.view
    assert view is not None  # it is attached
    how = "was attached already" if attach_s is None else f"attached in {attach_s:.2f} s"
    after = release_text(view, at_home="") if here.is_gpu_kernel else release_text(view)
    return Outcome(f"{describe_gpus(view)} {how}; {after}\n")


async def _release(here: Surroundings, arguments: list[str]) -> Outcome:
    text = ""
    for kernel in _chosen(here, arguments):
        had_process = kernel.view is not None and kernel.view.incarnation is not None
        await kernel.release()
        kept = kernel.view is not None and kernel.view.state is KernelState.SUSPENDED
        if here.is_gpu_kernel and not had_process:
            text += f"{kernel.name} holds no GPU; nothing is billed\n"
        else:
            text += f"{kernel.name} released; {'variables kept' if kept else 'its variables are gone'}\n"
    return Outcome(text)


async def _interrupt(here: Surroundings, arguments: list[str]) -> Outcome:
    for kernel in _chosen(here, arguments):
        await kernel.interrupt()
    return Outcome()


async def _restart(here: Surroundings, arguments: list[str]) -> Outcome:
    spec = None
    if here.is_gpu_kernel:
        if len(arguments) > 1:
            raise UsageError("%gpu restart takes one GPU spec or nothing, like %gpu restart A100")
        spec, arguments = str(parse_gpu_spec(arguments[0])) if arguments else None, []
    text = ""
    for kernel in _chosen(here, arguments):
        await kernel.restart(spec)
        text += f"{kernel.name} restarted; its variables are gone\n"
    return Outcome(text)


async def _bill(here: Surroundings, arguments: list[str]) -> Outcome:
    options = read_bill_options(arguments)
    bill = await here.bill(everything=options.everything, by=options.by or "day")
    if options.by is not None and bill.by is None:
        raise BrokerError("this broker is too old to break a bill down; upgrade it, or leave --by out")
    return Outcome(table=BillReport(bill, options))


async def _budget(here: Surroundings, arguments: list[str]) -> Outcome:
    """``AMOUNT`` is for the kernel used last; ``month AMOUNT`` and ``user AMOUNT`` hold for all of the user's."""
    if arguments and arguments[0] in _SHARED_SCOPES:
        return await _shared_budget(here, arguments)
    if not arguments and here.latest is None:
        return Outcome(_limit_lines(await here.limits(), _SHARED_SCOPES.values()))
    kernel = _one_kernel(here, "budget")
    if len(arguments) > 1:
        raise UsageError("%gpu budget takes one amount of dollars, like %gpu budget 5.00, or none")
    if arguments:
        await kernel.set_budget(None if arguments[0] == "none" else read_amount(arguments[0], "%gpu budget"))
    if kernel.view is None:
        limits = await here.limits()
        applying = [limit.scope for limit in limits.limits if limit.limit_nanodollars is not None]
        text = f"{kernel.name} has no budget and has cost nothing; `%gpu budget 5.00` sets one\n"
        return Outcome(text + _limit_lines(limits, applying))
    text = budget_text(kernel.name, kernel.view, kernel.view_age_s) + "\n"
    shared = {budget.scope for budget in kernel.view.budgets} - {BudgetScope.KERNEL}
    if shared:
        text += _limit_lines(await here.limits(), [scope for scope in _SHARED_SCOPES.values() if scope in shared])
    return Outcome(text)


async def _shared_budget(here: Surroundings, arguments: list[str]) -> Outcome:
    name, scope = arguments[0], _SHARED_SCOPES[arguments[0]]
    if len(arguments) > 2:
        raise UsageError(f"%gpu budget {name} takes one amount of dollars, like %gpu budget {name} 50, or none")
    if len(arguments) == 1:
        return Outcome(_limit_lines(await here.limits(), [scope]))
    amount = None if arguments[1] == "none" else read_amount(arguments[1], f"%gpu budget {name}")
    return Outcome(_limit_lines(await here.set_limit(scope, amount), [scope]))


def _limit_lines(limits: UserLimits, scopes: Iterable[BudgetScope]) -> str:
    return "".join(limit_text(limits, scope) + "\n" for scope in scopes)


async def _keep(here: Surroundings, arguments: list[str]) -> Outcome:
    kernel = _one_kernel(here, "keep")
    if len(arguments) > 1:
        raise UsageError("%gpu keep takes one number of minutes, like %gpu keep 10")
    await kernel.keep(_seconds(arguments[0] if arguments else str(KEEP_MINUTES)))
    return Outcome(f"{kernel.name}: {told_of(kernel.view, kernel.view_age_s) if kernel.view is not None else 'kept'}\n")


def _seconds(minutes: str) -> int:
    try:
        seconds = round(float(minutes) * 60)
    except (ValueError, OverflowError):
        seconds = 0
    if not 0 < seconds <= MOST_KEEP_S:
        raise UsageError(f"%gpu keep takes up to {MOST_KEEP_S // 60} minutes, like %gpu keep 10, and not {minutes!r}")
    return seconds


async def _monitor(here: Surroundings, arguments: list[str]) -> Outcome:
    _one_kernel(here, "monitor")
    if arguments:
        raise UsageError("%gpu monitor takes nothing: it shows the kernel that was used last")
    await here.watch()
    return Outcome(panel=ShowPanel.ALWAYS)


async def _get(here: Surroundings, arguments: list[str]) -> Outcome:
    _one_kernel(here, "get")
    await here.get(arguments)
    return Outcome()


async def _put(here: Surroundings, arguments: list[str]) -> Outcome:
    _one_kernel(here, "put")
    await here.put(arguments)
    return Outcome()


async def _help(here: Surroundings, arguments: list[str]) -> Outcome:
    return Outcome(KERNEL_HELP if here.is_gpu_kernel else NOTEBOOK_HELP)


def _one_kernel(here: Surroundings, command: str) -> CommandedKernel:
    if here.latest is None:
        raise UsageError(f"%gpu {command}: nothing has run remotely yet; run a %%gpu cell first")
    return here.latest


def _chosen(here: Surroundings, arguments: list[str]) -> list[CommandedKernel]:
    """The kernels that a command names, or all of this notebook."""
    kernels = here.kernels
    for name in arguments:
        if name not in kernels:
            raise UsageError(f"this notebook has no kernel {name!r}; it has {', '.join(kernels) or 'none'}")
    return [kernels[name] for name in arguments] if arguments else list(kernels.values())


Command = Callable[[Surroundings, list[str]], Awaitable[Outcome]]
COMMANDS: dict[str, Command] = {
    "status": _status,
    "list": _list,
    "attach": _attach,
    "release": _release,
    "interrupt": _interrupt,
    "restart": _restart,
    "bill": _bill,
    "budget": _budget,
    "keep": _keep,
    "monitor": _monitor,
    "get": _get,
    "put": _put,
    "help": _help,
}

"""``%%gpu`` and ``%gpu``."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.core import magic
from IPython.core.magic import Magics, magics_class, no_var_expand

from ..client.http import BrokerClient
from ..wire.errors import PerijoveError, UsageError
from ..wire.gpu_spec import parse_gpu_spec
from ..wire.models import KernelState, KernelView
from ..wire.money import cost_nanodollars, format_dollars
from .budget import budget_text, read_amount
from .cell_options import check_names, parse_cell_line
from .notebook import Notebook
from .remote_kernel import RemoteKernel
from .status_line import cell_status, describe_gpus, release_text
from .tables import Table, bill_table, gpu_table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

LINE_HELP = """%gpu                 what this notebook's kernels do
%gpu list            the GPUs there are, free and busy, and their prices
%gpu attach SPEC     have the GPU now, so that the next %%gpu cell starts at once
%gpu release         give it back now; variables are kept where that is possible
%gpu interrupt       interrupt what runs over there
%gpu restart         a new process over there; its variables are gone
%gpu bill            what this notebook has cost
%gpu budget 5.00     what the kernel used last may cost altogether; `none` for no limit, nothing to see what is left
%gpu get NAME…       bring the full values of variables here
%gpu put NAME…       send variables there
%gpu help            this text; %%gpu? tells about cells
"""


EMBEDDED_AGENT_WITHIN_S = 15.0

F = TypeVar("F", bound=Callable[..., Any])
Named = Callable[[str], Callable[[F], F]]
# IPython types these decorators only for their form without a name.
cell_magic = cast("Named[Any]", magic.cell_magic)
line_magic = cast("Named[Any]", magic.line_magic)


@magics_class
class GpuMagics(Magics):
    """The magics of one shell."""

    def __init__(self, shell: InteractiveShell, notebook: Notebook) -> None:
        super().__init__(shell)
        self.notebook = notebook

    @no_var_expand
    @cell_magic("gpu")
    def run_cell(self, line: str, cell: str) -> None:
        """Run this cell on a remote GPU, as if it ran here.

        %%gpu H100          one H100            %%gpu H100|A100   the first that is free, in this order
        %%gpu H100:2        two of them         %%gpu 40GB        any with at least that memory
        %%gpu any           any GPU             %%gpu cpu         no GPU
        %%gpu               the same as the cell before

        Variables that the cell reads travel there, those it assigns come back (up to 1 MiB each; larger ones as a
        RemoteValue: x.get() brings it). Output, plots, widgets, input() and errors appear here. The first cell
        attaches a GPU; after a while without cells it is released, and the variables over there stay.

        --in a,b        names to send, instead of those the cell reads
        --out x         names whose full value must come back, at any size
        --keep x        names that stay remote, as RemoteValues
        --kernel NAME   a name, for a second kernel on the same GPU spec
        --timeout S     seconds after which the cell is interrupted
        --budget USD    dollars that this kernel may cost altogether, in this cell and all others
        --no-vars       no variables travel, in either direction
        --quiet         no status line

        `%gpu help` has the commands around it.
        """
        options = parse_cell_line(line)
        kernel = self.notebook.kernel_for(options.spec, options.kernel)
        run = None
        try:
            # IPython ends every cell magic's body with a newline, and cells are known by their text without it.
            run = kernel.run_cell(cell.removesuffix("\n"), options)
        finally:
            view = kernel.view
            finished = run or kernel.last_run
            if not options.quiet and view is not None and finished is not None and not finished.stopping:
                notices = [*([kernel.budget_left] if kernel.budget_left else []), *finished.notices]
                self.notebook.end_with(
                    cell_status(view, describe_gpus(view), kernel.attach_s, finished.ran_ms, notices)
                )

    @line_magic("gpu")
    def command(self, line: str) -> Any:
        """The state of this notebook's GPUs, and what to do with them. `%gpu help` lists the commands."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"%gpu: the line cannot be read ({error}); see %gpu help") from None
        name, arguments = (words[0], words[1:]) if words else ("status", [])
        command = self._commands().get(name)
        if command is None:
            if name in ("env", "monitor", "replay"):
                raise UsageError(f"%gpu {name} is not available in this version")
            raise UsageError(f"%gpu: there is no command {name!r}; see %gpu help")
        return command(arguments)

    def _commands(self) -> dict[str, Callable[[list[str]], Any]]:
        return {
            "status": self._status,
            "list": self._list,
            "attach": self._attach,
            "release": self._release,
            "interrupt": self._interrupt,
            "restart": self._restart,
            "bill": self._bill,
            "budget": self._budget,
            "get": self._get,
            "put": self._put,
            "help": self._help,
        }

    def _status(self, arguments: list[str]) -> Table:
        rows = [
            [kernel.name, *_status_row(kernel.view, kernel.view_age_s, kernel.budget_left)]
            for kernel in self.notebook.kernels.values()
        ]
        note = (
            "" if rows else "nothing is attached and nothing is billed; put %%gpu H100 above a cell, or see %gpu list"
        )
        return Table(["kernel", "state", "GPU", "agent", "cost so far", ""], rows, note)

    def _list(self, arguments: list[str]) -> Table:
        async def ask(broker: BrokerClient) -> tuple[list[dict[str, Any]], str]:
            deadline = time.monotonic() + EMBEDDED_AGENT_WITHIN_S
            while not (agents := (await broker.status())["agents"]) and broker.address.embedded:
                if time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.1)  # the embedded agent starts beside the broker
            return (await broker.gpus() if agents else []), broker.address.url

        try:
            gpus, url = self.notebook.ask_broker(ask)
        except PerijoveError as error:
            return Table([], [], f"no GPUs to list: {error}")
        return gpu_table(gpus, url)

    def _attach(self, arguments: list[str]) -> None:
        if len(arguments) > 1:
            raise UsageError("%gpu attach takes one GPU spec, like %gpu attach H100")
        kernel = self.notebook.kernel_for(parse_gpu_spec(arguments[0]) if arguments else None, None)
        view = kernel.attach()
        how = "was attached already" if kernel.attach_s is None else f"attached in {kernel.attach_s:.2f} s"
        print(f"{describe_gpus(view)} {how}; {release_text(view)}")

    def _release(self, arguments: list[str]) -> None:
        for kernel in self._chosen(arguments):
            kernel.release()
            view = kernel.view
            kept = view is not None and view.state is KernelState.SUSPENDED
            print(f"{kernel.name} released; {'variables kept' if kept else 'its variables are gone'}")

    def _interrupt(self, arguments: list[str]) -> None:
        for kernel in self._chosen(arguments):
            kernel.interrupt()

    def _restart(self, arguments: list[str]) -> None:
        for kernel in self._chosen(arguments):
            kernel.restart()
            print(f"{kernel.name} restarted; its variables are gone")

    def _bill(self, arguments: list[str]) -> Table:
        if arguments not in ([], ["--all"]):
            raise UsageError("%gpu bill shows this notebook's bill, %gpu bill --all everything of yours")
        ids = None if arguments else self.notebook.kernel_ids
        return bill_table(self.notebook.ask_broker(lambda broker: broker.bill(kernels=ids)))

    def _budget(self, arguments: list[str]) -> None:
        kernel = self._one_kernel("budget")
        if len(arguments) > 1:
            raise UsageError("%gpu budget takes one amount of dollars, like %gpu budget 5.00, or none")
        if arguments:
            kernel.set_budget(None if arguments[0] == "none" else read_amount(arguments[0], "%gpu budget"))
        assert kernel.view is not None
        print(budget_text(kernel.name, kernel.view, kernel.view_age_s))

    def _get(self, arguments: list[str]) -> None:
        self._one_kernel("get").sync.fetch(_names("get", arguments))

    def _put(self, arguments: list[str]) -> None:
        self._one_kernel("put").sync.push(_names("put", arguments))

    def _help(self, arguments: list[str]) -> None:
        print(LINE_HELP, end="")

    def _one_kernel(self, command: str) -> RemoteKernel:
        if self.notebook.latest is None:
            raise UsageError(f"%gpu {command}: nothing has run remotely yet; run a %%gpu cell first")
        return self.notebook.latest

    def _chosen(self, arguments: list[str]) -> list[RemoteKernel]:
        """The kernels that a command names, or all of this notebook."""
        kernels = self.notebook.kernels
        for name in arguments:
            if name not in kernels:
                raise UsageError(f"this notebook has no kernel {name!r}; it has {', '.join(kernels) or 'none'}")
        return [kernels[name] for name in arguments] if arguments else list(kernels.values())


def _names(command: str, arguments: list[str]) -> tuple[str, ...]:
    if not arguments:
        raise UsageError(f"%gpu {command} takes names of variables, like %gpu {command} weights")
    return check_names(arguments, f"%gpu {command}")


def _status_row(view: KernelView | None, age_s: float, budget_left: str) -> list[str]:
    """What ``%gpu`` says of a kernel whose view came ``age_s`` ago: the broker sends one when something changes."""
    if view is None:
        return ["detached", "", "", "", "nothing has run yet"]
    cost, lease = "", view.lease
    if lease is not None:
        since = cost_nanodollars(lease.price_microdollars_per_second, lease.count, int(age_s * 1000))
        cost = format_dollars(lease.cost_nanodollars + since)
    if cost and view.gpus is not None and view.gpus.simulated:
        cost += " simulated"
    told = {
        KernelState.QUEUED: view.queue_reason,
        KernelState.ATTACHED: "busy" if view.busy else _countdown(view, age_s),
        KernelState.SUSPENDED: "GPU released, variables kept; not billed",
        KernelState.DETACHED: view.notice or "not billed",
    }.get(view.state, "")
    told = "; ".join(part for part in (told, budget_left) if part)
    agent = view.gpus.agent_name if view.gpus is not None else ""
    return [view.state.value, describe_gpus(view), agent, cost, told]


def _countdown(view: KernelView, age_s: float) -> str:
    if view.release_in_s is None:
        return "idle"
    kept = "variables kept" if view.keeps_state else "variables will be lost"
    return f"idle, released in {max(0.0, view.release_in_s - age_s):.0f} s, {kept}"

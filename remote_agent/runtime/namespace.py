"""The kernel's end of the variables: applies what a cell needs, reports what it changed, answers between cells.

``begin`` → the cell runs (names nobody foresaw are asked for on demand) → ``finish``. Nothing here trusts that
``finish``'s answer arrived: versions in the next ``begin`` show what the notebook knows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...wire.errors import CannotTravel, PerijoveError
from ...wire.values.items import ParcelWriter
from ...wire.values.names import LAST_RESULTS
from ...wire.values.packing import CannotPack
from ...wire.values.parcel import Parcel
from ...wire.values.unpacking import python_version
from .arrivals import Arrivals
from .departures import Departures, names_present, pack_whole
from .on_demand import OnDemandBuiltins, OnDemandOutputs
from .project_modules import ProjectModules
from .records import Cell, Records

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class RemoteNamespace:
    """One per kernel process. ``ask`` puts a question to the notebook while a cell runs, and blocks for its answer."""

    def __init__(self, shell: InteractiveShell, ask: Callable[[Parcel], Parcel]) -> None:
        self._shell = shell
        self._ask = ask
        self._records = Records(shell)
        self._project = ProjectModules()
        self._arrivals = Arrivals(self._records, self._project)
        self._builtins = OnDemandBuiltins(self._fetch)
        self._asking = threading.RLock()
        self._last_out: tuple[int, int] = (0, 0)

    def begin(self, parcel: Parcel) -> None:
        """Apply inputs before the cell. Raises ``VariableConflict`` when a name was changed on both sides."""
        manifest = parcel.manifest
        records = self._records
        records.cell = None
        records.held.claim(manifest.get("claims", ()))
        records.held.drop(manifest.get("drops", ()))
        cell = Cell(
            transfer=bool(manifest.get("transfer", True)),
            limit_bytes=int(manifest.get("limit", 0)),
            declared_writes=frozenset(manifest.get("writes", ())),
            out=tuple(manifest.get("out", ())),
            keep=frozenset(manifest.get("keep", ())),
        )
        self._install_builtins()
        if cell.transfer:
            self._arrivals.delete(manifest.get("deleted", {}))
            cell.owed = self._arrivals.expect(manifest.get("uses", {}))
            cell.inputs = self._arrivals.apply(parcel) | set(manifest.get("uses", {}))
            records.held.loosen(manifest.get("loose", {}))
            cell.before = {name: id(value) for name, value in records.user_ns.items()}
        self._last_out = self._newest_output()
        records.cell_number += 1
        records.cell = cell

    def finish(self) -> Parcel:
        """After the cell, error or not: changed inputs, bound names, deletions, and the last expression's value."""
        records, cell = self._records, self._records.cell
        records.cell = None
        answer: dict[str, Any] = {"op": "finished", "python": python_version(), "incarnation": records.incarnation}
        if cell is None or not cell.transfer:
            return Parcel(answer | {"result": {"kind": "none"}})
        records.held.tighten(cell.declared_writes)
        found, writer = Departures(records, cell).collect(self._take_result())
        warnings, self._project.warnings = self._project.warnings, []
        return Parcel(answer | found | {"warnings": warnings}, writer.buffers)

    def exchange(self, question: Parcel) -> Parcel:
        """Answer the notebook between cells. Errors travel as their code and text, never as pickles."""
        try:
            return self._answer(question)
        except PerijoveError as error:
            return Parcel({"error": {"code": error.code, "message": error.message}})

    def _answer(self, question: Parcel) -> Parcel:
        manifest = question.manifest
        records = self._records
        records.held.claim(manifest.get("claims", ()))
        records.held.drop(manifest.get("drops", ()))
        operation = manifest.get("op")
        if operation == "put":
            self._arrivals.apply(question, forced=True)
            broken = {name: records.broken[name] for name in manifest["names"] if name in records.broken}
            return Parcel({"op": "put", "incarnation": records.incarnation, "broken": broken})
        if operation == "get":
            return self._give_names(manifest["names"])
        if operation == "value":
            return self._give_object(manifest["handle"])
        return Parcel({"op": "done", "incarnation": records.incarnation})

    def _give_names(self, names: list[str]) -> Parcel:
        """Full values of variables, as after a cell that had them all in ``--out``."""
        present = names_present(names, self._records)
        missing = [name for name in names if name not in present]
        if missing:
            raise CannotTravel(f"there is no variable {missing[0]!r} in the kernel; `%who` in a cell there lists them")
        cell = Cell(out=tuple(present), owed=set(present))
        cell.before = {name: id(value) for name, value in self._records.user_ns.items()}
        found, writer = Departures(self._records, cell).collect((False, None))
        answer = {"op": "got", "python": python_version(), "incarnation": self._records.incarnation}
        return Parcel(answer | found, writer.buffers)

    def _give_object(self, handle: str) -> Parcel:
        writer = ParcelWriter()
        try:
            pack_whole(self._records, [self._records.held.get(handle)], writer, ["value"])
        except (CannotPack, LookupError) as error:
            raise CannotTravel(
                f"the value cannot come to the notebook, because {error}. Use it in a %%gpu cell instead."
            ) from None
        return Parcel({"op": "value", "python": python_version(), "items": writer.items}, writer.buffers)

    def _install_builtins(self) -> None:
        self._builtins.refresh()
        if self._records.user_ns.get("__builtins__") is not self._builtins:
            self._records.user_ns["__builtins__"] = self._builtins

        outputs = self._records.user_ns.get("_oh")
        if outputs is not None and not isinstance(outputs, OnDemandOutputs):
            outputs = OnDemandOutputs(outputs, self._fetch)
            shell: Any = self._shell
            shell.history_manager.output_hist = outputs
            shell.push({"_oh": outputs, "Out": outputs}, interactive=False)

    def _fetch(self, name: str) -> object:
        """A name that is unknown here. ``KeyError`` makes Python raise its usual ``NameError``."""
        cell, records = self._records.cell, self._records
        if name in records.broken:
            raise CannotTravel(records.broken[name])
        if cell is None or not cell.transfer or name in cell.unknown or name.startswith("__"):
            raise KeyError(name)
        if name in cell.fleeting:
            return cell.fleeting[name]
        with self._asking:
            if name in records.user_ns:  # another thread of the cell asked for it meanwhile
                return records.user_ns[name]
            return self._ask_for(name, cell)

    def _ask_for(self, name: str, cell: Cell) -> object:
        records = self._records
        try:
            answer = self._ask(Parcel({"op": "want", "name": name, "incarnation": records.incarnation}))
        except Exception as error:
            raise KeyError(name) from error
        if not answer.manifest.get("found"):
            cell.unknown.add(name)
            if name in answer.manifest.get("refused", {}):
                raise CannotTravel(answer.manifest["refused"][name])
            raise KeyError(name)
        bound = self._arrivals.apply(answer, overwrite=False, forced=True)
        cell.inputs |= bound
        for each in bound:
            if each in records.user_ns:
                cell.before[each] = id(records.user_ns[each])
        if name in records.broken:
            raise CannotTravel(records.broken[name])
        if name in cell.fleeting:
            return cell.fleeting[name]
        return records.user_ns[name]

    def _newest_output(self) -> tuple[int, int]:
        outputs = self._records.user_ns.get("_oh") or {}
        if not outputs:
            return (0, 0)
        number = next(reversed(outputs))
        return (int(number), id(outputs[number]))

    def _take_result(self) -> tuple[bool, object]:
        """The value that the display hook put into ``Out`` during the cell, taken out of this process's history.

        ``Out`` and ``_`` live in the notebook. A second copy here would keep results alive (and GPU memory with them)
        that the notebook has long let go of; a cell that uses ``_5`` gets it from there, at no cost if it is held here.
        """
        newest = self._newest_output()
        if newest == self._last_out or newest == (0, 0):
            return (False, None)
        outputs = self._records.user_ns["_oh"]
        value = outputs.pop(newest[0])
        for names in (self._records.user_ns, self._records.shell.user_ns_hidden):
            names.pop(f"_{newest[0]}", None)
        hook = self._shell.displayhook
        for name in LAST_RESULTS:
            setattr(hook, name, "")
        # The hook goes on with ``_`` only where it finds its own in the hidden names, too.
        self._shell.push(dict.fromkeys(LAST_RESULTS, ""), interactive=False)  # type: ignore[no-untyped-call]
        return (True, value)

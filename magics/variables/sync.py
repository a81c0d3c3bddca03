"""``VariableSync``: the notebook's end of the variables, one per kernel it uses.

``compose`` before a cell, ``answer`` while it runs, ``absorb`` and ``result`` after it. It knows nothing of links: it
makes parcels and takes parcels, and asks between cells through the ``exchange`` it was given.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...wire.errors import CannotTravel, VariableConflict, from_code
from ...wire.values.grouping import fingerprint_of, group_now
from ...wire.values.handles import RemoteReference, Scope
from ...wire.values.items import ParcelReader
from ...wire.values.names import is_user_name, user_names
from ...wire.values.parcel import Parcel
from ...wire.values.unpacking import CannotUnpack
from .analysis import CellNames, analyze
from .coherence import Coherence
from .incoming import Incoming
from .modules import ProjectSources
from .outgoing import Outgoing
from .remote_value import RemoteValue
from .selection import looks_up_by_text, select

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# References to a RemoteValue that only its name holds, as ``sys.getrefcount`` counts them while we look:
# the namespace, our local variable, the call's argument.
_HELD_BY_NAME_ONLY = 3


class VariableSync:
    """Keeps the variables of one notebook and one kernel coherent.

    ``exchange(question)`` asks the kernel between cells and blocks; it raises ``PerijoveError`` when that is away.
    ``place`` says where the kernel is, for people; whoever knows may change it.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        exchange: Callable[[Parcel], Parcel],
        *,
        auto_out_limit_bytes: int = 2**20,
    ) -> None:
        self.place = "in the kernel"
        self.warnings: list[str] = []
        self._shell = shell
        self._exchange = exchange
        self._limit_bytes = auto_out_limit_bytes
        self._coherence = Coherence()
        self._project = ProjectSources()
        self._scope = Scope(shell.user_ns, self._stand)
        self._values: weakref.WeakValueDictionary[str, RemoteValue] = weakref.WeakValueDictionary()
        self._drops: deque[str] = deque()
        self._dropping: list[str] = []
        self._claims: list[str] = []
        self._deleting: dict[str, int] = {}
        self._incarnation: str | None = None
        self._witnesses: dict[str, object] = {}
        self._result: tuple[bool, object] = (False, None)
        self._analysed: dict[str, CellNames] = {}
        self._lock = threading.RLock()

    # -- before a cell ---------------------------------------------------------------------------------------

    def compose(
        self,
        cell: str,
        *,
        names_in: Sequence[str] | None = None,
        names_out: Sequence[str] = (),
        keep: Sequence[str] = (),
        transfer: bool = True,
    ) -> Parcel:
        """What must travel before ``cell`` runs.

        ``names_in`` replaces what the analysis finds; ``transfer=False`` sends nothing and expects nothing back. Raises
        ``CannotTravel`` naming a variable of the cell that cannot travel.
        """
        with self._lock:
            self._coherence.start_cell()
            self._witnesses = {}
            self._result = (False, None)
            if not transfer:
                return Parcel({"op": "begin", "transfer": False, **self._errands()})
            loose = self._loose()  # before anything here holds a value, too
            found = self._analyse(cell)
            variables = self._variables()
            reads = set(found.reads) | set(found.deletes)
            direct = reads if names_in is None else self._checked(names_in, variables)
            hints = found.hints if names_in is None else frozenset()
            selection = select(direct | hints, variables, self._scope)
            if names_in is None and looks_up_by_text(selection, found.reads, found.attributes):
                selection = select(direct | hints | self._coherence.agreed.keys(), variables, self._scope)
            selection.direct = frozenset(direct)
            outgoing = Outgoing(self._coherence, self._project, self._scope)
            outgoing.add(selection, found.attributes, found.imports)
            outgoing.add_last_results(found.reads, self._shell.user_ns)
            self._witnesses = {
                name: variables[name] for name in found.writes if name in variables and name not in selection.values
            }
            return outgoing.parcel(
                op="begin",
                transfer=True,
                writes=sorted(found.writes),
                out=list(names_out),
                keep=list(keep),
                limit=self._limit_bytes,
                deleted=self._to_unbind(variables, self._witnesses),
                loose=loose,
                **self._errands(),
            )

    def _analyse(self, cell: str) -> CellNames:
        known = self._analysed.get(cell)
        if known is None:
            if len(self._analysed) > 256:
                self._analysed.clear()
            known = self._analysed[cell] = analyze(cell, self._shell.transform_cell)
        return known

    def _variables(self) -> dict[str, object]:
        user_ns = self._shell.user_ns
        return {name: user_ns[name] for name in user_names(self._shell) if user_ns[name] is not user_ns}

    def _checked(self, names: Sequence[str], variables: dict[str, object]) -> set[str]:
        for name in names:
            if name not in variables:
                raise CannotTravel(f"there is no variable {name!r} in the notebook to send: define it first")
        return set(names)

    def _to_unbind(self, variables: dict[str, object], written: Iterable[str]) -> dict[str, int]:
        """Names to unbind over there: those deleted here, and those changed here that the cell binds without reading.

        The latter need not travel, but the kernel's old value must go: bound to the same old value again, the name
        would look unchanged there, while the notebook has another. Said with every cell until one is confirmed.
        """
        unbound = self._coherence.deleted(variables)
        for name in written:
            expected = self._coherence.expected(name)
            if expected is not None and fingerprint_of(group_now((name,), self._scope), self._scope) != expected:
                unbound[name] = self._coherence.version(name)
        self._deleting = unbound
        return unbound

    def _loose(self) -> dict[str, str]:
        """Names that alone hold their RemoteValue: the cell may free the object by deleting the name."""
        loose: dict[str, str] = {}
        for name in [name for name, value in self._shell.user_ns.items() if isinstance(value, RemoteReference)]:
            value = self._shell.user_ns[name]
            if sys.getrefcount(value) <= _HELD_BY_NAME_ONLY and name in self._coherence.agreed:
                loose[name] = value._handle
        return loose

    def _errands(self) -> dict[str, Any]:
        """What goes along with every message: handles nobody holds any more, and lent ones we keep."""
        while self._drops:
            self._dropping.append(self._drops.popleft())
        return {"drops": list(self._dropping), "claims": list(self._claims)}

    def _errands_done(self) -> None:
        """The kernel answered, so it did what was asked along with the question."""
        self._dropping.clear()
        self._claims.clear()
        self._coherence.drop(self._deleting)
        self._deleting = {}
        self._coherence.settle()
        self._project.settle()

    # -- while a cell runs -----------------------------------------------------------------------------------

    def answer(self, question: Parcel) -> Parcel:
        """The kernel met a name it does not know. Never raises: a refusal travels as its text."""
        name = str(question.manifest.get("name", ""))
        with self._lock:
            try:
                return self._answer(name)
            except CannotTravel as error:
                return Parcel({"found": False, "refused": {name: error.message}})

    def _answer(self, name: str) -> Parcel:
        shell, outgoing = self._shell, Outgoing(self._coherence, self._project, self._scope)
        is_result = name[:1] == "_" and name[1:].isdecimal()  # IPython hides these, and a cell may use them
        is_internal = name in shell.user_ns_hidden or name.startswith("__")
        if name not in shell.user_ns or (is_internal and not is_result):
            return Parcel({"found": False})
        if not is_user_name(name, shell.user_ns, shell.user_ns_hidden):
            outgoing.add_fleeting(name, shell.user_ns[name])
            return outgoing.parcel(found=True)
        selection = select([name], self._variables(), self._scope)
        self._coherence.drop([name])  # the kernel says it does not have it, whatever we thought
        outgoing.add(selection, (), ())
        return outgoing.parcel(found=True)

    # -- after a cell ----------------------------------------------------------------------------------------

    def absorb(self, returned: Parcel) -> None:
        """Bind what came back. Everything that can be applied is, before the first thing that cannot raises:
        ``VariableConflict`` for a name changed on both sides, ``CannotTravel`` for an ``--out`` that cannot come."""
        with self._lock:
            self._meet(returned)
            self._errands_done()
            incoming = self._apply(returned, forced=False)
            self._witnesses = {}
            self._result = incoming.result
            self.warnings = list(returned.manifest.get("warnings", ()))
        self._raise_first(incoming.conflicts, returned.manifest.get("failed", {}))

    def result(self) -> tuple[bool, object]:
        """Whether the last cell ended in an expression, and its value (or the RemoteValue that stands for it)."""
        return self._result

    def _apply(self, returned: Parcel, *, forced: bool) -> Incoming:
        incoming = Incoming(self._coherence, self._scope, self._stand, self._witnesses, forced=forced)
        incoming.apply(returned)
        self._claims.extend(incoming.claims)
        return incoming

    def _meet(self, returned: Parcel) -> None:
        """Notice a new process even where nobody said ``forget``: what it was offered in this cell, it has."""
        incarnation = returned.manifest.get("incarnation")
        if incarnation is None or incarnation == self._incarnation:
            return
        if self._incarnation is not None:
            offered = dict(self._coherence.offered)
            self.forget()
            self._coherence.offered = offered
        self._incarnation = incarnation

    def _raise_first(self, conflicts: Sequence[str], failed: dict[str, str]) -> None:
        if conflicts:
            name = conflicts[0]
            raise VariableConflict(
                f"variable {name!r} was changed in the notebook and in the kernel at the same time; the notebook keeps "
                f"its own value. Keep that with `%gpu put {name}`, or take the kernel's with `%gpu get {name}`."
            )
        for message in failed.values():
            raise CannotTravel(message)

    # -- between cells ---------------------------------------------------------------------------------------

    def forget(self) -> None:
        """The process over there is new: it has none of our variables, and what stayed in the old one is lost."""
        with self._lock:
            self._coherence.forget()
            self._project.forget()
            for value in list(self._values.values()):
                value._lost = True
            self._values.clear()
            self._drops.clear()
            self._dropping.clear()
            self._claims.clear()
            self._deleting = {}
            self._incarnation = None

    def fetch(self, names: Sequence[str]) -> None:
        """``%gpu get``: bind the kernel's values of these names here, in full, whatever the notebook has."""
        answer = self._question({"op": "get", "names": list(names)})
        with self._lock:
            self._meet(answer)
            self._apply(answer, forced=True)
        self._raise_first((), answer.manifest.get("failed", {}))

    def push(self, names: Sequence[str]) -> None:
        """``%gpu put``: send these variables, whatever the kernel has."""
        with self._lock:
            self._coherence.start_cell()
            selection = select(self._checked(names, self._variables()), self._variables(), self._scope)
            outgoing = Outgoing(self._coherence, self._project, self._scope, forced=True)
            outgoing.add(selection, (), ())
            question = outgoing.parcel(op="put", names=list(names))
        answer = self._question(question.manifest, question.buffers)
        with self._lock:
            self._meet(answer)
            self._errands_done()
        for message in answer.manifest.get("broken", {}).values():
            raise CannotTravel(message)

    def tidy(self) -> None:
        """Tell the kernel at once which objects nobody here holds any more; else the next cell says so."""
        if self._drops:
            self._question({"op": "drop"})

    def _question(self, manifest: dict[str, Any], buffers: Sequence[Any] = ()) -> Parcel:
        answer = self._exchange(Parcel(manifest | self._errands(), buffers))
        error = answer.manifest.get("error")
        if error:
            raise from_code(error["code"], error["message"])
        return answer

    # -- remote values ---------------------------------------------------------------------------------------

    def _stand(self, handle: str, about: dict[str, Any]) -> RemoteValue:
        """The one RemoteValue for a handle. When the last reference to it goes, the kernel is told to let go."""
        known = self._values.get(handle)
        if known is not None:
            return known
        value = RemoteValue(handle, about, self._fetch_value, lambda: self.place)
        if handle in self._drops:
            self._drops.remove(handle)
        if handle in self._dropping:
            self._dropping.remove(handle)
        self._values[handle] = value
        weakref.finalize(value, self._drops.append, handle).atexit = False
        return value

    def _fetch_value(self, value: RemoteValue) -> object:
        answer = self._question({"op": "value", "handle": value._handle})
        reader = ParcelReader(answer, self._scope, answer.manifest.get("python", (0, 0)))
        try:
            return reader.load(reader.items[0])["value"]
        except CannotUnpack as error:
            raise CannotTravel(
                f"the value does not load in the notebook, because {error}. Use it in a %%gpu cell instead."
            ) from None

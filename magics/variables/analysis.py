"""Which names a cell reads, binds, deletes and imports, found from its code.

The cell is first transformed as IPython would (``!ls {path}`` becomes a call), then read twice: ``symtable`` knows the
scoping rules, the syntax tree knows the order. It is careful in one direction: a name is left out only when the cell
surely binds it before anything mentions it. Reading one name too many costs a little traffic; one too few would show
the cell a stale value. What no reading can find (strings given to ``eval``) is fetched on demand while the cell runs.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

_MAGIC_CALLS = frozenset({"run_line_magic", "run_cell_magic", "system", "getoutput"})
_CODE_MAGICS = frozenset(
    {"time", "timeit", "prun", "capture", "memit", "mprun", "lprun", "mypy", "pyinstrument", "scalene"}
)
_EXPANSION = re.compile(r"\$\{?([A-Za-z_]\w*)|\{([^{}]+)\}")
_QUERIED = re.compile(r"@([A-Za-z_]\w*)")  # ``df.query("x > @limit")``
_LOOKED_UP = frozenset({"globals", "locals", "vars"})
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_OPTION = re.compile(r"\s*-{1,2}[A-Za-z_][\w-]*(=\S+)?(\s+\d+)?(?=\s|$)")


@dataclass(frozen=True, slots=True)
class CellNames:
    """``reads``: may be read as it is before the cell. ``hints``: mentioned in a text, so perhaps read.

    ``writes`` and ``deletes``: (un)bound by the cell's own statements. ``attributes``: all attribute names, to tell
    which submodules it reaches. ``imports``: modules its import statements name.
    """

    reads: frozenset[str] = frozenset()
    hints: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    imports: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Found:
    reads: set[str] = field(default_factory=set)
    hints: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)

    def frozen(self) -> CellNames:
        return CellNames(
            *(
                frozenset(each)
                for each in (
                    self.reads,
                    self.hints,
                    self.writes,
                    self.deletes,
                    self.attributes,
                    self.imports,
                )
            )
        )


def analyze(cell: str, transform: Callable[[str], str]) -> CellNames:
    """Read a cell. ``transform`` is the shell's ``transform_cell``. Code that does not parse reads nothing: the
    remote kernel will say what is wrong with it."""
    found = _Found()
    _read_code(cell, transform, found)
    return found.frozen()


def _read_code(cell: str, transform: Callable[[str], str], found: _Found) -> None:
    try:
        code = transform(cell)
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return
    mentioned = _globals_mentioned(code, tree)
    found.reads |= mentioned - _surely_bound_first(tree)
    for node in ast.walk(tree):
        _read_node(node, transform, found)
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found.hints.update(name for text in texts for name in _QUERIED.findall(text))
    if mentioned & _LOOKED_UP:  # ``globals()["x"]``
        found.hints.update(text for text in texts if text.isidentifier())
    found.writes |= _bound_at_top_level(tree)


def _globals_mentioned(code: str, tree: ast.Module) -> set[str]:
    try:
        top = symtable.symtable(code, "<cell>", "exec")
    except (SyntaxError, ValueError):  # what only the compiler refuses, such as a stray ``return``
        return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = set(_globals_of(top))
    # ``x += 1`` and ``del x`` need the old value or the old binding, and symtable calls neither a reference.
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Delete):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    kind = str(table.get_type())
    for symbol in table.get_symbols():
        at_top = kind == "module" or (kind == "class" and symbol.is_local())
        if (at_top and symbol.is_referenced()) or (kind != "module" and symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals_of(child)


def _surely_bound_first(tree: ast.Module) -> set[str]:
    """Names that a plain top-level statement binds before any part of the cell so much as mentions them."""
    bound: set[str] = set()
    mentioned: set[str] = set()
    for statement in tree.body:
        targets = set(_plain_targets(statement))
        inside = {node.id for node in _parts_before_binding(statement)}
        mentioned |= inside - bound
        bound |= targets - mentioned
    return bound


def _plain_targets(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from _target_names(target)
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        yield from _target_names(statement.target)
    elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        for item in statement.items:
            if item.optional_vars is not None:
                yield from _target_names(item.optional_vars)


def _parts_before_binding(statement: ast.stmt) -> Iterator[ast.Name]:
    """Names mentioned in a statement, but for the targets that an assignment itself binds last."""
    skipped: set[int] = set()
    if isinstance(statement, ast.Assign):
        skipped = {id(node) for target in statement.targets for node in ast.walk(target) if _is_store(node)}
    elif isinstance(statement, ast.AnnAssign):
        skipped = {id(statement.target)}
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and id(node) not in skipped:
            yield node
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from (ast.Name(name) for name in node.names)


def _is_store(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _target_names(target: ast.expr) -> Iterator[str]:
    return (node.id for node in ast.walk(target) if isinstance(node, ast.Name) and _is_store(node))


def _bound_at_top_level(tree: ast.Module) -> set[str]:
    """Names that statements outside functions and classes may bind, and those that functions declare global."""
    names: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
            names.update(name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(_plain_targets(node))
        elif isinstance(node, ast.Name) and _is_store(node):
            names.add(node.id)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
        pending.extend(ast.iter_child_nodes(node))
    return names


def _read_node(node: ast.AST, transform: Callable[[str], str], found: _Found) -> None:
    if isinstance(node, ast.Attribute):
        found.attributes.add(node.attr)
    elif isinstance(node, ast.Import):
        found.imports.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        found.imports.add(node.module)
        found.imports.update(f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Delete):
        found.deletes.update(target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.Call) and _is_magic_call(node):
        texts = [part.value for part in node.args if isinstance(part, ast.Constant)]
        _read_magic(str(getattr(node.func, "attr", "")), [str(text) for text in texts], transform, found)


def _is_magic_call(node: ast.Call) -> bool:
    function = node.func
    if not isinstance(function, ast.Attribute) or function.attr not in _MAGIC_CALLS:
        return False
    shell = function.value
    return isinstance(shell, ast.Call) and getattr(shell.func, "id", None) == "get_ipython"


def _read_magic(call: str, texts: list[str], transform: Callable[[str], str], found: _Found) -> None:
    """A magic's line and body are text to Python; IPython expands ``{expression}`` and ``$name`` in the line."""
    if call in ("system", "getoutput"):
        _read_expansions(texts, found)
        return
    name, *rest = texts
    _read_expansions(rest, found)
    if name in _CODE_MAGICS:
        line, *bodies = rest
        if name == "capture":
            found.writes.update(word for word in line.split() if word.isidentifier())
        else:
            _read_code(_without_options(line), transform, found)
        for body in bodies:
            _read_code(body, transform, found)
    elif call == "run_line_magic":
        found.hints.update(_IDENTIFIER.findall(" ".join(rest)))


def _without_options(line: str) -> str:
    while (match := _OPTION.match(line)) is not None and match.end():
        line = line[match.end() :]
    return line.strip()


def _read_expansions(texts: Iterable[str], found: _Found) -> None:
    for text in texts:
        for name, expression in _EXPANSION.findall(text):
            if name:
                found.hints.add(name)
                continue
            try:
                tree = ast.parse(expression.strip(), mode="eval")
            except (SyntaxError, ValueError):
                continue
            found.hints.update(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))

"""The user's own modules: files beside the notebook, which no environment over there has installed.

Before a cell that uses one, its source files travel by content hash, together with those of the user's modules that it
imports. Installed packages (in ``site-packages``, in the standard library) never travel: an environment has them.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_MAX_FILES = 2_000
_MAX_FILE_BYTES = 4 * 2**20


def _installed_roots() -> tuple[Path, ...]:
    found = {Path(path) for path in sysconfig.get_paths().values()}
    found |= {Path(path) for path in (*site.getsitepackages(), site.getusersitepackages())}
    return tuple(path.resolve() for path in found if path != Path("/"))


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as it is now; ``relative`` is its path below the folder on ``sys.path``."""

    relative: str
    content: bytes
    sha256: str
    imports: frozenset[str]


@dataclass(slots=True)
class ProjectSources:
    """Finds the user's modules and remembers which versions of their files the kernel has."""

    _installed: tuple[Path, ...] = field(default_factory=_installed_roots)
    _sent: dict[str, str] = field(default_factory=dict)
    _offered: dict[str, str] = field(default_factory=dict)
    _places: dict[str, Path | None] = field(default_factory=dict)
    _read: dict[Path, tuple[tuple[int, int], SourceFile]] = field(default_factory=dict)

    def forget(self) -> None:
        """The process over there is new and has no files."""
        self._sent.clear()
        self._offered.clear()

    def settle(self) -> None:
        """The kernel answered: what was offered arrived."""
        self._sent.update(self._offered)
        self._offered.clear()

    def offer(self, modules: Iterable[str]) -> list[SourceFile]:
        """Files to send for these (dotted) modules: new or changed since they last travelled."""
        self._offered.clear()
        changed = [file for file in self._closure(modules) if self._sent.get(file.relative) != file.sha256]
        self._offered.update({file.relative: file.sha256 for file in changed})
        return changed

    def _closure(self, modules: Iterable[str]) -> list[SourceFile]:
        pending = {module.partition(".")[0] for module in modules}
        seen: set[str] = set()
        files: list[SourceFile] = []
        while pending:
            top = pending.pop()
            if top in seen:
                continue
            seen.add(top)
            place = self._place(top)
            if place is None:
                continue
            for file in self._files_of(place):
                files.append(file)
                pending |= file.imports - seen
        return files

    def _place(self, top: str) -> Path | None:
        """The folder or file of a top-level module of the user's, or ``None`` for one that is installed."""
        if top in sys.stdlib_module_names or top in sys.builtin_module_names or top in ("perijove", "__main__"):
            return None
        if self._places.get(top) is None:
            self._places[top] = self._find(top)
        return self._places[top]

    def _find(self, top: str) -> Path | None:
        module = sys.modules.get(top)
        try:
            spec = module.__spec__ if module is not None else importlib.util.find_spec(top)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader) or not spec.origin:
            return None
        path = Path(spec.origin).resolve()
        if any(path.is_relative_to(root) for root in self._installed):
            return None
        return path.parent if path.name == "__init__.py" else path

    def _files_of(self, place: Path) -> list[SourceFile]:
        paths = [place] if place.is_file() else sorted(place.rglob("*.py"))[:_MAX_FILES]
        found = (self._source(path, path.relative_to(place.parent).as_posix()) for path in paths)
        return [file for file in found if file is not None]

    def _source(self, path: Path, relative: str) -> SourceFile | None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._read.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            if status.st_size > _MAX_FILE_BYTES:
                return None
            content = path.read_bytes()
        except OSError:
            return None
        file = SourceFile(relative, content, hashlib.sha256(content).hexdigest(), _top_level_imports(content))
        self._read[path] = (stamp, file)
        return file


def _top_level_imports(content: bytes) -> frozenset[str]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return frozenset(names)

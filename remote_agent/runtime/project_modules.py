"""The notebook's own modules (files beside it, not installed packages) in the kernel.

The notebook sends their sources by content hash. They are written to a folder of this process, which goes first on
``sys.path``. A changed module that is already imported is executed again in place, so that ``helpers.f`` is the
new one; where that fails, the cell is told to restart. A name that a cell copied out of it (``from helpers import f``)
stays what it was, as it does at home.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...wire.values.parcel import Parcel


class ProjectModules:
    """Sources received so far, and where they were written."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self.warnings: list[str] = []

    def receive(self, parcel: Parcel) -> None:
        """Write the files that ``manifest["project"]`` brings, and reload the modules they change.

        ``{"files": {"pkg/mod.py": {"buffer": 3, "sha256": "…"}}}``: paths are relative, POSIX, and may not climb.
        """
        files: Mapping[str, Mapping[str, Any]] = parcel.manifest.get("project", {}).get("files", {})
        if not files:
            return
        folder = self._make_folder()
        for relative, entry in files.items():
            content = bytes(parcel.buffers[entry["buffer"]])
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise ValueError(f"the module file {relative!r} arrived damaged")
            _write(folder, relative, content)
        importlib.invalidate_caches()
        for relative in files:
            self._reload(_module_name(relative))

    def _make_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="perijove-modules-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            sys.path.insert(0, str(self._folder))
        return self._folder

    def _reload(self, name: str) -> None:
        module = sys.modules.get(name)
        if module is None:
            return
        try:
            importlib.reload(module)
        except Exception as error:  # noqa: BLE001 - the module's own code may raise anything
            self.warnings.append(
                f"module {name!r} changed and could not be reloaded in the kernel "
                f"({type(error).__name__}: {error}): `%gpu restart` to start again with the new one"
            )


def _write(folder: Path, relative: str, content: bytes) -> None:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".py":
        raise ValueError(f"refusing to write the module file {relative!r}: not a relative path of a Python file")
    target = folder.joinpath(*path.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    # A second change within the same second must not be hidden by a cached compilation of equal size.
    cached = importlib.util.cache_from_source(str(target))
    Path(cached).unlink(missing_ok=True)


def _module_name(relative: str) -> str:
    parts = list(PurePosixPath(relative).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

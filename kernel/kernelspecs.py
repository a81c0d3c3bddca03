"""Kernelspecs on this machine: what makes "GPU · H100" appear in JupyterLab's launcher and VS Code's kernel picker.

A kernelspec is a folder with a ``kernel.json`` and logos. Ours name the interpreter they were installed with, by its
absolute path: front-ends start it from any directory and environment, and VS Code takes the code of widgets from the
environment in ``metadata.interpreter``. Ours are told from others by ``metadata.perijove``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir, jupyter_path, prefer_environment_over_user

from ..wire.errors import InvalidGpuSpec, PerijoveError
from ..wire.gpu_spec import GpuSpec, parse_gpu_spec
from ..wire.kernelspec_names import display_name, kernelspec_name
from ..wire.logos import LOGO_FILES, logo

KERNEL_JSON = "kernel.json"


class KernelspecError(PerijoveError):
    """A kernelspec could not be written or removed."""

    code = "kernelspec_error"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of kernelspecs; ``option`` is how the command line names it, ``what`` how people do."""

    kernels: Path
    option: str
    what: str

    @property
    def is_searched(self) -> bool:
        """Whether Jupyter, run from this environment, looks there by itself."""
        return any(_same(self.kernels, folder) for folder in searched_folders())


class Outcome(StrEnum):
    INSTALLED = "installed"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Installed:
    """A kernelspec of ours, as it is on disk."""

    name: str
    directory: Path
    display_name: str
    gpu: str
    interpreter: Path

    @property
    def spec(self) -> GpuSpec | None:
        """What it asks for; None where somebody wrote what cannot be read."""
        try:
            return parse_gpu_spec(self.gpu)
        except InvalidGpuSpec:
            return None


# places ---------------------------------------------------------------------------------------------------------------


def environment_place() -> Place:
    return Place(_kernels_in(Path(sys.prefix)), "--sys-prefix", f"the environment {sys.prefix}")


def user_place() -> Place:
    return Place(Path(jupyter_data_dir()) / "kernels", "--user", "your user directory")


def prefix_place(prefix: Path) -> Place:
    prefix = Path(os.path.abspath(prefix.expanduser()))  # a link in it stays: kernelspecs are found through it
    return Place(_kernels_in(prefix), f"--prefix {prefix}", str(prefix))


def default_place() -> Place:
    """In a virtual or conda environment that is this user's, the environment; else the user's directory. Jupyter puts
    these two in the same order (``jupyter_core.paths.prefer_environment_over_user``)."""
    return environment_place() if prefer_environment_over_user() else user_place()


def searched_folders() -> list[Path]:
    """Where Jupyter looks for kernelspecs, first to last."""
    return [Path(folder) for folder in jupyter_path("kernels")]


def _kernels_in(prefix: Path) -> Path:
    return prefix / "share" / "jupyter" / "kernels"


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


# what is in them ------------------------------------------------------------------------------------------------------


def kernelspec(spec: GpuSpec, python: str = sys.executable) -> dict[str, Any]:
    """The ``kernel.json`` of the kernel for a GPU spec."""
    interpreter = os.path.abspath(python)  # not resolved: an environment's python is a link to another's
    return {
        "argv": [interpreter, "-m", "perijove.kernel", "-f", "{connection_file}", "--gpu", str(spec)],
        "display_name": display_name(spec),
        "language": "python",
        "interrupt_mode": "message",
        "env": {},
        "metadata": {
            "debugger": True,
            "interpreter": {"path": interpreter},  # VS Code: a local Python that has the code of widgets
            "perijove": {"gpu": str(spec)},
        },
    }


def installed_kernelspecs(folders: Iterable[Path] | None = None) -> list[Installed]:
    """Ours in the given folders; without them, in all that Jupyter looks in."""
    found = []
    for folder in searched_folders() if folders is None else folders:
        try:
            directories = sorted(path for path in folder.iterdir() if path.is_dir())
        except OSError:
            continue  # no such folder, or not for us
        found += [ours for directory in directories if (ours := _read(directory)) is not None]
    return found


def _read(directory: Path) -> Installed | None:
    """The kernelspec in a directory if it is one of ours."""
    document = _document(directory)
    try:
        metadata = document["metadata"]
        return Installed(
            name=directory.name,
            directory=directory,
            display_name=str(document["display_name"]),
            gpu=str(metadata["perijove"]["gpu"]),
            interpreter=Path(document["argv"][0]),
        )
    except (KeyError, TypeError, IndexError):
        return None


def _document(directory: Path) -> dict[str, Any]:
    try:
        document = json.loads((directory / KERNEL_JSON).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


# changing them --------------------------------------------------------------------------------------------------------


def install_kernelspec(spec: GpuSpec, place: Place, python: str = sys.executable) -> tuple[Installed, Outcome]:
    """Write one kernelspec, or bring an earlier one of ours up to date; what its user put into ``env`` stays.

    Raises:
        KernelspecError: when the folder cannot be written, or something that is not ours is in the way.
    """
    directory = place.kernels / kernelspec_name(spec)
    is_new = not os.path.lexists(directory)
    if not is_new and _read(directory) is None:
        raise KernelspecError(
            f"{directory} is there and is no kernelspec of Perijove; remove or rename it, then install again"
        )
    document = kernelspec(spec, python)
    document["env"] = _document(directory).get("env") or {}
    contents = {KERNEL_JSON: json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"}
    contents |= {file: logo(file) for file in LOGO_FILES}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        changed = [file for file, content in contents.items() if _write(directory / file, content)]
    except OSError as error:
        raise KernelspecError(
            f"{error.filename or directory} cannot be written: {error.strerror}; choose a place that is yours with "
            "--user, --sys-prefix or --prefix"
        ) from None
    written = _read(directory)
    assert written is not None
    if is_new:
        return written, Outcome.INSTALLED
    return written, Outcome.UPDATED if changed else Outcome.UNCHANGED


def _write(path: Path, content: bytes) -> bool:
    """Whether the file had to be changed. A front-end that reads it meanwhile sees the old or the new one, whole."""
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return True


def uninstall_kernelspecs(place: Place, names: Sequence[str] | None = None) -> list[Installed]:
    """Remove ours from a place, all or those named; returns what was removed.

    Raises:
        KernelspecError: when one cannot be removed.
    """
    removed = []
    for ours in installed_kernelspecs([place.kernels]):
        if names is not None and ours.name not in names:
            continue
        try:
            if ours.directory.is_symlink():
                ours.directory.unlink()
            else:
                shutil.rmtree(ours.directory)
        except OSError as error:
            raise KernelspecError(
                f"{error.filename or ours.directory} cannot be removed: {error.strerror}; "
                "ask whoever installed it, or run this command as that user"
            ) from None
        removed.append(ours)
    return removed

"""``%%gpu`` and ``%gpu``: run a cell on a remote GPU as if it had run at home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_ATTRIBUTE = "_perijove_magics"


def load(shell: InteractiveShell) -> None:
    """Register the magics in a shell. Loading twice is loading once; a kernel on a GPU has its own already."""
    if getattr(shell, _ATTRIBUTE, None) is not None or getattr(getattr(shell, "kernel", None), "has_gpu_magics", False):
        return
    from . import completion
    from .gpu_magics import GpuMagics
    from .notebook import Notebook

    notebook = Notebook(shell)
    magics = GpuMagics(shell, notebook)
    notebook.register()
    shell.register_magics(magics)
    completion.register(magics)
    setattr(shell, _ATTRIBUTE, magics)


def unload(shell: InteractiveShell) -> None:
    """Take the magics away and give back what they held."""
    magics: Any = getattr(shell, _ATTRIBUTE, None)
    if magics is None:
        return
    magics.notebook.unregister()
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("gpu", None)
    setattr(shell, _ATTRIBUTE, None)

"""Perijove: a remote GPU in a Jupyter notebook for exactly as long as cells run on it.

``%load_ext perijove`` brings ``%%gpu`` and ``%gpu``; it starts nothing and imports little.
Everything else is reached lazily, so that ``import perijove`` costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .magics.variables import RemoteValue as RemoteValue
    from .wire import errors as errors

__version__ = "0.1.0"
__all__ = ["RemoteValue", "__version__", "errors"]

_LAZY = {"RemoteValue": (".magics.variables", "RemoteValue"), "errors": (".wire.errors", None)}


def __getattr__(name: str) -> Any:
    try:
        module_name, attribute = _LAZY[name]
    except KeyError:
        raise AttributeError(f"module 'perijove' has no attribute {name!r}") from None
    module = importlib.import_module(module_name, __name__)
    return module if attribute is None else getattr(module, attribute)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext perijove``: register the magics. Nothing is started and nothing is dialled."""
    from .magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext perijove``: release what this notebook holds and take the magics away."""
    from .magics import unload

    unload(shell)

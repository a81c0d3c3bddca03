"""Which notebook runs in this process, as far as its surroundings say; for the bill, which can then be had by notebook.

A kernel is never told for sure. Jupyter servers name the session's file in ``JPY_SESSION_NAME`` (ipykernel shows it as
``__session__``), VS Code sets a variable in the notebook's namespace, papermill one among its parameters, and
`perijove run`, or anybody else who starts kernels, says it in ``PERIJOVE_NOTEBOOK``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..wire.notebook_path import bounded

NOTEBOOK_VARIABLE = "PERIJOVE_NOTEBOOK"
SESSION_VARIABLE = "JPY_SESSION_NAME"
NAMES = ("__vsc_ipynb_file__", "PAPERMILL_OUTPUT_PATH", "PAPERMILL_INPUT_PATH")
NOTHING: Mapping[str, Any] = {}


def notebook_name(namespace: Mapping[str, Any] = NOTHING, environ: Mapping[str, str] = os.environ) -> str | None:
    """The path of the notebook's file; ``namespace`` is the notebook's own. None: nobody has said."""
    candidates = [
        environ.get(NOTEBOOK_VARIABLE),
        *(namespace.get(name) for name in NAMES),
        environ.get(SESSION_VARIABLE),
    ]
    return next((bounded(path) for path in candidates if isinstance(path, str) and path), None)

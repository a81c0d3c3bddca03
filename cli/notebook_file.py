"""Notebooks on disk for ``perijove run``: read once, written whole after every cell."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from ..wire.errors import UsageError

FORMAT = 4


def read_notebook(path: Path) -> NotebookNode:
    """A notebook without the outputs of earlier runs.

    Raises:
        UsageError: when it is none, or one in another language than Python.
    """
    try:
        notebook = nbformat.read(path, as_version=FORMAT)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - whatever the library stumbles over, it says what
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{path} is no notebook that can be read: {reason}") from None
    metadata = notebook.metadata
    language = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
    if language and str(language).lower() not in ("python", "ipython"):
        raise UsageError(f"{path} is written in {language}, and the GPU kernel runs Python")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that there is something to run in."""
    return [cell for cell in notebook.cells if is_code(cell)]


def is_code(cell: NotebookNode) -> bool:
    return bool(cell.cell_type == "code" and cell.source.strip())


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Put it in the place of what was there: at no moment is there half a notebook.

    Raises:
        UsageError: when it cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    text = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
    try:
        draft.write_text(text + "\n", "utf-8")
        draft.replace(target)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; -o names another place") from None
    finally:
        draft.unlink(missing_ok=True)

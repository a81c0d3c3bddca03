"""Runs every example in ``docs/variables.md``: one notebook and one kernel per section.

In an example, ``# raises X: text`` says that the cell fails so; ``# meanwhile CODE`` runs CODE in the notebook while
the cell runs.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import perijove.wire.errors
import pytest
from perijove.wire.errors import PerijoveError

from .conftest import CellFailed

_PAGE = Path(__file__).parents[3] / "docs" / "variables.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RAISES = re.compile(r"^\s*# raises (\w+)(?:: (.*))?$", re.MULTILINE)
_MEANWHILE = re.compile(r"^\s*# meanwhile (.*)$", re.MULTILINE)


def sections() -> dict[str, list[str]]:
    parts = re.split(r"^## (.*)$", _PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {title: _BLOCK.findall(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}
    return {title: blocks for title, blocks in found.items() if blocks}


def run(notebook, block):
    first, _, body = block.partition("\n")
    if not first.startswith("%%gpu"):
        notebook.local(block)
        return
    options = {}
    words = shlex.split(first)[1:]
    while words:
        option = words.pop(0)
        if option == "--no-vars":
            options["transfer"] = False
        else:
            options[{"--out": "names_out", "--keep": "keep", "--in": "names_in"}[option]] = words.pop(0).split(",")
    meanwhile = _MEANWHILE.search(body)
    notebook.while_running = lambda: exec(meanwhile[1], notebook.ns) if meanwhile else None
    notebook.gpu(body, **options)


@pytest.mark.parametrize("title", sections())
def test_section(notebook, title, monkeypatch, tmp_path, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notebook.shell, "showtraceback", lambda *a, **k: None)
    notebook.shell.register_magic_function(lambda line: notebook.sync.fetch(line.split()[1:]), "line", "gpu")
    for block in sections()[title]:
        if hasattr(notebook.ns.get("log"), "close"):
            request.addfinalizer(notebook.ns["log"].close)
        expected = _RAISES.search(block)
        if expected is None:
            run(notebook, block)
            continue
        with pytest.raises((CellFailed, PerijoveError)) as caught:
            run(notebook, block)
        type_name, text = expected[1], expected[2] or ""
        known = getattr(perijove.wire.errors, type_name, None)
        if isinstance(known, type) and isinstance(caught.value, known):
            assert text in str(caught.value)
        else:
            assert f"{type_name}: {text}" in str(caught.value)  # a remote failure: its text

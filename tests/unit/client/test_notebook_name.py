"""Which notebook a kernel says that it belongs to."""

from __future__ import annotations

import pytest
from perijove.client.notebook_name import notebook_name
from perijove.wire.notebook_path import MOST_CHARACTERS


@pytest.mark.parametrize(
    ("namespace", "environ", "path"),
    [
        ({}, {}, None),
        ({}, {"JPY_SESSION_NAME": "/home/ada/a.ipynb"}, "/home/ada/a.ipynb"),
        ({"__vsc_ipynb_file__": "/home/ada/b.ipynb"}, {"JPY_SESSION_NAME": "/of/the/server"}, "/home/ada/b.ipynb"),
        ({"PAPERMILL_INPUT_PATH": "in.ipynb", "PAPERMILL_OUTPUT_PATH": "out.ipynb"}, {}, "out.ipynb"),
        ({"__vsc_ipynb_file__": "b"}, {"PERIJOVE_NOTEBOOK": "/run/c.ipynb"}, "/run/c.ipynb"),
        ({"__vsc_ipynb_file__": 7}, {"JPY_SESSION_NAME": ""}, None),
    ],
)
def test_whoever_knows_best_is_believed(
    namespace: dict[str, object], environ: dict[str, str], path: str | None
) -> None:
    assert notebook_name(namespace, environ) == path


def test_of_a_very_long_path_the_end_is_kept() -> None:
    path = notebook_name({}, {"PERIJOVE_NOTEBOOK": "x" * 5000 + "/train.ipynb"})
    assert path is not None
    assert len(path) == MOST_CHARACTERS
    assert path.startswith("…")
    assert path.endswith("/train.ipynb")

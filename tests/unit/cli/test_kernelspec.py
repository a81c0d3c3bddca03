"""What a kernelspec of ours says."""

from __future__ import annotations

import os

from perijove.kernel.kernelspecs import kernelspec
from perijove.wire.gpu_spec import parse_gpu_spec


def test_the_kernelspec_of_a_gpu():
    document = kernelspec(parse_gpu_spec("h100|a100:2"), "/opt/venv/bin/python")
    assert document == {
        "argv": [
            *("/opt/venv/bin/python", "-m", "perijove.kernel"),
            *("-f", "{connection_file}", "--gpu", "H100|A100:2"),
        ],
        "display_name": "GPU · H100|A100:2",
        "language": "python",
        "interrupt_mode": "message",
        "env": {},
        "metadata": {
            "debugger": True,
            "interpreter": {"path": "/opt/venv/bin/python"},
            "perijove": {"gpu": "H100|A100:2"},
        },
    }


def test_its_interpreter_is_absolute_and_stays_the_link_of_its_environment(tmp_path, monkeypatch):
    os.symlink("/usr/bin/env", tmp_path / "python")
    monkeypatch.chdir(tmp_path)
    document = kernelspec(parse_gpu_spec("any"), "./python")
    assert document["argv"][0] == document["metadata"]["interpreter"]["path"] == str(tmp_path / "python")

"""The user's own modules are found, hashed and sent once per change."""

from __future__ import annotations

import pytest
from perijove.magics.variables.modules import ProjectSources


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pj_pack").mkdir()
    (tmp_path / "pj_pack" / "__init__.py").write_text("from . import part\nimport pj_single, json\n")
    (tmp_path / "pj_pack" / "part.py").write_text("import numpy\n")
    (tmp_path / "pj_single.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_package_brings_its_files_and_the_modules_it_imports(project):
    sources = ProjectSources()
    assert {file.relative for file in sources.offer(["pj_pack.part"])} == {
        "pj_pack/__init__.py",
        "pj_pack/part.py",
        "pj_single.py",
    }


def test_files_travel_once_per_change(project):
    sources = ProjectSources()
    sources.offer(["pj_pack"])
    assert len(sources.offer(["pj_pack"])) == 3  # nobody confirmed the first offer
    sources.settle()
    assert sources.offer(["pj_pack"]) == []
    (project / "pj_single.py").write_text("x = 22\n")
    assert [file.relative for file in sources.offer(["pj_pack"])] == ["pj_single.py"]
    sources.settle()
    sources.forget()
    assert len(sources.offer(["pj_pack"])) == 3


def test_installed_and_standard_modules_never_travel():
    assert ProjectSources().offer(["json", "pytest", "perijove", "no_such_module_at_all"]) == []

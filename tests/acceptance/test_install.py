"""``perijove install`` and ``uninstall``, as Jupyter sees what they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import perijove
from .observing import wait_until

KERNELS = Path("share/jupyter/kernels")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "prefix"


@pytest.fixture
def environment(tmp_path: Path, prefix: Path) -> dict[str, str]:
    """A user with a home of their own, a Jupyter that also looks into ``prefix``, and no broker."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PERIJOVE_", "JUPYTER_"))}
    return inherited | {
        "HOME": str(tmp_path / "home"),
        "XDG_DATA_HOME": str(tmp_path / "home/.local/share"),
        "JUPYTER_PATH": str(prefix / "share/jupyter"),
        "PERIJOVE_DATA": str(tmp_path / "data"),
    }


def kernelspecs(environment: dict[str, str]) -> dict[str, Any]:
    """What ``jupyter kernelspec list`` says, of ours."""
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter_client.kernelspecapp", "list", "--json"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    specs = json.loads(listed.stdout)["kernelspecs"]
    return {name: entry["spec"] for name, entry in specs.items() if name.startswith("perijove")}


def fails(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "perijove.cli", *arguments],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    return done.returncode, done.stderr


def test_jupyter_lists_what_was_installed_until_it_is_uninstalled(environment: dict[str, str], prefix: Path):
    perijove(environment, "install", "--prefix", str(prefix), "--gpu", "H100", "--gpu", "H100|A100", "--gpu", "any")
    listed = kernelspecs(environment)
    assert {name: spec["display_name"] for name, spec in listed.items()} == {
        "perijove": "GPU · any",
        "perijove-h100": "GPU · H100",
        "perijove-h100-a100": "GPU · H100|A100",
    }
    for spec in listed.values():
        assert spec["interrupt_mode"] == "message"
        assert Path(spec["argv"][0]).is_absolute()
        assert spec["metadata"]["interpreter"]["path"] == spec["argv"][0] == sys.executable
    removed = perijove(environment, "uninstall", "--prefix", str(prefix), "--gpu", "h100")
    assert "GPU · H100  (perijove-h100)" in removed
    assert set(kernelspecs(environment)) == {"perijove", "perijove-h100-a100"}
    perijove(environment, "uninstall", "--prefix", str(prefix))
    assert kernelspecs(environment) == {}


def test_logos_lie_beside_them(environment: dict[str, str], prefix: Path):
    perijove(environment, "install", "--prefix", str(prefix), "--gpu", "H100")
    directory = prefix / KERNELS / "perijove-h100"
    assert (directory / "logo-32x32.png").read_bytes().startswith(b"\x89PNG")
    assert (directory / "logo-64x64.png").read_bytes().startswith(b"\x89PNG")
    assert (directory / "logo-svg.svg").read_text().startswith("<svg")


def test_installing_again_mends_and_keeps_what_the_user_put_into_env(environment: dict[str, str], prefix: Path):
    arguments = ("install", "--prefix", str(prefix), "--gpu", "H100")
    assert perijove(environment, *arguments).startswith("installed")
    assert perijove(environment, *arguments).startswith("unchanged")
    file = prefix / KERNELS / "perijove-h100" / "kernel.json"
    document = json.loads(file.read_text())
    document["argv"][0], document["env"] = "/gone/bin/python", {"PERIJOVE_URL": "http://127.0.0.1:8787"}
    file.write_text(json.dumps(document))
    assert perijove(environment, *arguments).startswith("updated")
    mended = json.loads(file.read_text())
    assert mended["argv"][0] == sys.executable
    assert mended["env"] == {"PERIJOVE_URL": "http://127.0.0.1:8787"}


def test_without_gpu_there_is_any_and_what_this_machine_would_offer(environment: dict[str, str], prefix: Path):
    simulating = environment | {"PERIJOVE_SIMULATE": "A100-80GB:2,L4:1"}
    perijove(simulating, "install", "--prefix", str(prefix))
    assert {"perijove", "perijove-a100-80gb", "perijove-l4"} <= set(kernelspecs(environment))
    assert not (Path(environment["PERIJOVE_DATA"]) / "embedded" / "broker.json").exists(), "it started a broker"


def test_without_gpu_there_is_what_the_running_broker_offers(own_env: dict[str, str], prefix: Path):
    perijove(own_env, "up", "--background", "--simulate", "A100-40GB:1")
    wait_for_gpus(own_env)
    perijove(own_env, "install", "--prefix", str(prefix))
    assert {path.name for path in (prefix / KERNELS).iterdir()} == {"perijove", "perijove-a100-40gb"}


def wait_for_gpus(environment: dict[str, str]) -> None:
    wait_until(lambda: any(agent["gpus"] for agent in json.loads(perijove(environment, "status", "--json"))["agents"]))


def test_a_broker_that_does_not_answer_is_said_and_does_not_stop_it(environment: dict[str, str], prefix: Path):
    away = environment | {"PERIJOVE_URL": "http://127.0.0.1:9", "PERIJOVE_TOKEN": "token"}
    done = subprocess.run(
        [sys.executable, "-m", "perijove.cli", "install", "--prefix", str(prefix)],
        env=away,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "does not answer" in done.stderr
    assert "--gpu" in done.stderr
    assert set(kernelspecs(environment)) == {"perijove", "perijove-h100"}


def test_only_ours_are_touched(environment: dict[str, str], prefix: Path):
    stranger = prefix / KERNELS / "perijove-h100"
    stranger.mkdir(parents=True)
    (stranger / "kernel.json").write_text('{"argv": ["x"], "display_name": "mine", "language": "python"}')
    status, said = fails(environment, "install", "--prefix", str(prefix), "--gpu", "H100")
    assert status == 1
    assert "no kernelspec of Perijove" in said
    assert "there is no kernelspec of Perijove" in perijove(environment, "uninstall", "--prefix", str(prefix))
    assert json.loads((stranger / "kernel.json").read_text())["display_name"] == "mine"


def test_for_the_user_and_where_the_others_are(environment: dict[str, str], prefix: Path):
    perijove(environment, "install", "--user", "--gpu", "L4")
    assert Path(environment["XDG_DATA_HOME"], "jupyter/kernels/perijove-l4/kernel.json").is_file()
    assert set(kernelspecs(environment)) == {"perijove-l4"}
    assert "perijove uninstall --user" in perijove(environment, "uninstall", "--prefix", str(prefix))
    perijove(environment, "uninstall", "--user")
    assert kernelspecs(environment) == {}


def test_outside_of_an_environment_it_is_the_user_by_itself(environment: dict[str, str]):
    said = perijove(environment | {"JUPYTER_PREFER_ENV_PATH": "0"}, "install", "--gpu", "L4")
    assert "your user directory" in said
    assert Path(environment["XDG_DATA_HOME"], "jupyter/kernels/perijove-l4/kernel.json").is_file()


def test_mistakes_are_usage_errors(environment: dict[str, str], prefix: Path):
    status, said = fails(environment, "install", "--user", "--prefix", str(prefix))
    assert status == 2
    assert said.startswith("perijove: --sys-prefix, --user and --prefix each name a place")
    status, said = fails(environment, "install", "--prefix", str(prefix), "--gpu", "H100:x")
    assert status == 2
    assert "write a GPU spec like" in said
    assert not prefix.exists()


def test_a_place_that_cannot_be_written_is_named(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "file").write_text("")
    status, said = fails(environment, "install", "--prefix", str(tmp_path / "file"), "--gpu", "H100")
    assert status == 1
    assert f"{tmp_path / 'file'}" in said
    assert "cannot be written" in said


def test_doctor_sees_a_kernelspec_whose_python_is_gone(environment: dict[str, str], prefix: Path):
    perijove(environment, "install", "--prefix", str(prefix), "--gpu", "H100")
    assert f"ok    GPU kernels in {prefix / KERNELS}: perijove-h100" in perijove(environment, "doctor", check=False)
    file = prefix / KERNELS / "perijove-h100" / "kernel.json"
    file.write_text(file.read_text().replace(sys.executable, str(prefix / "gone/python")))
    status, _ = fails(environment, "doctor")
    assert status == 1
    said = perijove(environment, "doctor", check=False)
    assert f"WRONG GPU kernels in {prefix / KERNELS}: perijove-h100" in said
    assert "perijove install" in said

"""Arguments and connection files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from perijove.kernel.settings import CHANNELS, UnusableConnection, parse_arguments, read_connection, write_back

DOCUMENT = {
    "shell_port": 1001,
    "iopub_port": 1002,
    "stdin_port": 1003,
    "control_port": 1004,
    "hb_port": 1005,
    "ip": "127.0.0.1",
    "key": "abc",
    "transport": "tcp",
    "signature_scheme": "hmac-sha256",
    "kernel_name": "perijove-h100",
    "jupyter_session": "/home/ada/n.ipynb",
}


def written(path: Path, **changes: Any) -> Path:
    file = path / "kernel.json"
    file.write_text(json.dumps(DOCUMENT | changes))
    return file


def test_arguments_as_a_kernelspec_has_them() -> None:
    arguments = parse_arguments(["-f", "/tmp/k.json", "--gpu", "H100|A100"])
    assert arguments.connection_file == Path("/tmp/k.json")
    assert arguments.gpu_spec == "H100|A100"
    assert arguments.unknown == ()


def test_arguments_that_mean_nothing_are_kept_apart() -> None:
    arguments = parse_arguments(["--debug", "-f", "k.json", "--IPKernelApp.x=1"])
    assert arguments.gpu_spec == "any"
    assert arguments.unknown == ("--debug", "--IPKernelApp.x=1")
    assert arguments.connection_file.is_absolute()


def test_without_a_connection_file_it_says_how_it_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        parse_arguments(["--gpu", "H100"])
    assert exit.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "-f CONNECTION_FILE" in said.err


def test_a_connection_file_is_read(tmp_path: Path) -> None:
    connection = read_connection(written(tmp_path))
    assert connection.ports == {"shell": 1001, "iopub": 1002, "stdin": 1003, "control": 1004, "hb": 1005}
    assert connection.key == b"abc"
    assert connection.address("iopub") == "tcp://127.0.0.1:1002"
    assert not connection.is_ours
    assert "abc" not in repr(connection)


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({"ip": "::1"}, "tcp://[::1]:1001"),
        ({"ip": "[::1]"}, "tcp://[::1]:1001"),
        ({"ip": "::1", "shell_port": 0}, "tcp://[::1]:*"),
        ({"ip": "*"}, "tcp://*:1001"),
        ({"transport": "ipc", "ip": "/run/k", "shell_port": 1}, "ipc:///run/k-1"),
    ],
)
def test_addresses(tmp_path: Path, changes: dict[str, Any], address: str) -> None:
    assert read_connection(written(tmp_path, **changes)).address("shell") == address


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transport": "udp"}, "udp"),
        ({"shell_port": "1001"}, "shell_port"),
        ({"hb_port": 70000}, "hb_port"),
        ({"key": 3}, "key"),
        ({"ip": ["127.0.0.1"]}, "ip"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnusableConnection, match=said):
        read_connection(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_file_that_is_no_document(tmp_path: Path, text: str) -> None:
    (tmp_path / "kernel.json").write_text(text)
    with pytest.raises(UnusableConnection, match=r"kernel\.json"):
        read_connection(tmp_path / "kernel.json")


def test_chosen_ports_are_written_beside_what_was_there(tmp_path: Path) -> None:
    connection = read_connection(written(tmp_path, shell_port=0))
    ports = {**connection.ports, "shell": 4711}
    assert write_back(connection, ports).ports["shell"] == 4711
    assert json.loads(connection.file.read_text()) == DOCUMENT | {"shell_port": 4711}
    assert connection.file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [connection.file]


def test_a_file_whose_ports_were_all_given_is_left_alone(tmp_path: Path) -> None:
    connection = read_connection(written(tmp_path))
    before = connection.file.stat()
    write_back(connection, connection.ports)
    assert connection.file.stat() == before


def test_a_file_that_is_not_there_is_made_with_a_key(tmp_path: Path) -> None:
    connection = read_connection(tmp_path / "new" / "kernel.json")
    assert connection.is_ours
    write_back(connection, dict.fromkeys(CHANNELS, 5))
    again = read_connection(connection.file)
    assert again.key == connection.key
    assert len(again.key) == 32
    assert not again.is_ours

"""What a restarted kernel finds of the one before."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from perijove.kernel.hand_over import GOOD_FOR_S, HandOver, leave, take_up
from perijove.kernel.settings import CHANNELS, ConnectionInfo

LEFT = HandOver("11111111-2222-3333-4444-555555555555", "a session")
NOW = 1_800_000_000.0


def connection(file: str = "/run/kernel-1.json", key: bytes = b"key") -> ConnectionInfo:
    return ConnectionInfo(Path(file), "tcp", "127.0.0.1", dict.fromkeys(CHANNELS, 0), key, "hmac-sha256")


def found(directory: Path, of: ConnectionInfo, now: float = NOW) -> tuple[str, str] | None:
    left = take_up(directory, of, now)
    return None if left is None else (left.kernel_id, left.session)


def test_the_same_connection_file_finds_it_once(tmp_path: Path) -> None:
    leave(tmp_path, connection(), LEFT, NOW)
    assert found(tmp_path, connection(), NOW + 1) == (LEFT.kernel_id, LEFT.session)
    assert found(tmp_path, connection(), NOW + 1) is None


@pytest.mark.parametrize("other", [connection(file="/run/kernel-2.json"), connection(key=b"another")])
def test_another_path_or_key_does_not(tmp_path: Path, other: ConnectionInfo) -> None:
    leave(tmp_path, connection(), LEFT, NOW)
    assert found(tmp_path, other) is None
    assert found(tmp_path, connection()) is not None


def test_it_is_good_for_a_while_only_and_gone_after_a_look(tmp_path: Path) -> None:
    leave(tmp_path, connection(), LEFT, NOW)
    assert found(tmp_path, connection(), NOW + GOOD_FOR_S + 1) is None
    assert found(tmp_path, connection(), NOW) is None


def test_only_this_user_can_read_it_and_the_key_is_not_in_it(tmp_path: Path) -> None:
    leave(tmp_path, connection(key=b"secret-key"), LEFT, NOW)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"secret-key" not in file.read_bytes()


def test_what_nobody_took_up_does_not_pile_up(tmp_path: Path) -> None:
    for number in range(5):
        leave(tmp_path, connection(file=f"/run/{number}.json"), LEFT, time.time() - 3600)
    leave(tmp_path, connection(), LEFT, time.time() + 3600)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kernel_id": "k", "session": "s", "written_at": "soon"}'])
def test_a_torn_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    leave(tmp_path, connection(), LEFT, NOW)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    file.write_text(text)
    assert found(tmp_path, connection()) is None

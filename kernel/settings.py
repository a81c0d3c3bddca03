"""What the kernel was started with: its arguments and the connection file. Imports little: sockets wait for this.

The connection file's keys are those of jupyter_client's ``docs/kernels.rst``; ``curve_*`` encrypt the sockets and came
with jupyter_client 8.9. A file that is not there yet is ours to write, as ipykernel does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class UnusableConnection(Exception):
    """The connection file cannot be used; ``str`` says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Arguments:
    connection_file: Path
    gpu_spec: str
    unknown: tuple[str, ...] = ()  # what a front-end added that means nothing to us


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """Where to listen, and the keys. An empty ``key``: messages are not signed. A port 0: any that is free."""

    file: Path
    transport: str
    ip: str
    ports: Mapping[str, int]  # by channel
    key: bytes
    signature_scheme: str
    curve_public_key: bytes = b""
    curve_secret_key: bytes = field(default=b"", repr=False)
    is_ours: bool = False  # nobody else wrote the file: it goes when we go

    def address(self, channel: str) -> str:
        """Where a channel's socket is bound; with ``*`` in the place of a TCP port that is still free to choose."""
        port = self.ports[channel]
        if self.transport == "ipc":
            return f"ipc://{self.ip}-{port}"
        ip = f"[{self.ip}]" if ":" in self.ip and not self.ip.startswith("[") else self.ip
        return f"{self.transport}://{ip}:{port or '*'}"

    def __repr__(self) -> str:
        return f"ConnectionInfo(file={str(self.file)!r}, transport={self.transport!r}, ip={self.ip!r})"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"perijove kernel: {message}; Jupyter starts it as: -f CONNECTION_FILE --gpu SPEC", file=sys.stderr)
        raise SystemExit(2)


def parse_arguments(arguments: Sequence[str]) -> Arguments:
    """Read the command line; a GPU spec that cannot be read is told in the first cell, where people see it."""
    parser = _Parser(
        prog="python -m perijove.kernel",
        description="A Jupyter kernel whose cells run on a remote GPU. Front-ends start it: see `perijove install`.",
        allow_abbrev=False,
    )
    parser.add_argument("-f", "--connection-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--gpu", default="any", metavar="SPEC", help="H100, H100:2, H100|A100, 40GB, any or cpu")
    known, unknown = parser.parse_known_args(arguments)
    return Arguments(Path(os.path.abspath(known.connection_file)), known.gpu, tuple(unknown))


def read_connection(path: Path) -> ConnectionInfo:
    """Read a connection file.

    Raises:
        UnusableConnection: when it cannot be read or lacks something.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return ConnectionInfo(
            path, "tcp", "127.0.0.1", dict.fromkeys(CHANNELS, 0), secrets.token_hex(16).encode(), "hmac-sha256",
            is_ours=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UnusableConnection(f"the connection file {path} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise UnusableConnection(f"the connection file {path} holds no JSON object")
    transport, ip = document.get("transport", "tcp"), document.get("ip", "") or "127.0.0.1"
    if transport not in ("tcp", "ipc"):
        raise UnusableConnection(f"{path}: the transport {transport!r} is not supported; use tcp or ipc")
    return ConnectionInfo(
        path,
        transport,
        _text(path, "ip", ip),
        {channel: _port(path, channel, document) for channel in CHANNELS},
        _text(path, "key", document.get("key", "")).encode(),
        _text(path, "signature_scheme", document.get("signature_scheme") or "hmac-sha256"),
        _text(path, "curve_publickey", document.get("curve_publickey") or "").encode(),
        _text(path, "curve_secretkey", document.get("curve_secretkey") or "").encode(),
    )


def write_back(connection: ConnectionInfo, ports: Mapping[str, int]) -> ConnectionInfo:
    """Tell the ports that were chosen where front-ends look for them; nothing is written if all were given.

    Raises:
        UnusableConnection: when the file cannot be written.
    """
    if not connection.is_ours and dict(ports) == dict(connection.ports):
        return connection
    document: dict[str, Any] = {
        "transport": connection.transport,
        "ip": connection.ip,
        "key": connection.key.decode(),
        "signature_scheme": connection.signature_scheme,
    }
    try:
        with contextlib.suppress(FileNotFoundError):
            document |= json.loads(connection.file.read_text("utf-8"))
        document |= {f"{channel}_port": port for channel, port in ports.items()}
        connection.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = connection.file.with_name(f".{connection.file.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
        temporary.replace(connection.file)
    except (OSError, ValueError) as error:
        raise UnusableConnection(
            f"the ports that were chosen cannot be written to {connection.file}: {error}"
        ) from None
    return replace(connection, ports=dict(ports))


def _text(path: Path, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UnusableConnection(f"{path}: {name} is {value!r}, which is no text")
    return value


def _port(path: Path, channel: str, document: Mapping[str, Any]) -> int:
    port = document.get(f"{channel}_port", 0)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
        raise UnusableConnection(f"{path}: {channel}_port is {port!r}, which is no port")
    return port

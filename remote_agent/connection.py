"""Where a kernel process's ZeroMQ sockets are, and how messages to it are signed.

The sockets are ``ipc://`` in a 0700 directory, with a short path: a Unix socket's is limited to about 100 characters.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..wire.jupyter_frames import Part

DELIMITER = b"<IDS|MSG>"
PROTOCOL_VERSION = "5.3"
_PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}


@dataclass(frozen=True, slots=True)
class Connection:
    directory: Path
    key: bytes

    @classmethod
    def create(cls, directory: Path) -> Connection:
        """Write the connection file into ``directory``."""
        connection = cls(directory, secrets.token_hex(32).encode())
        document = {
            "transport": "ipc",
            "ip": str(directory / "k"),
            "key": connection.key.decode(),
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
            **{f"{channel}_port": port for channel, port in _PORTS.items()},
        }
        connection.file.touch(mode=0o600)
        connection.file.write_text(json.dumps(document))
        return connection

    @property
    def file(self) -> Path:
        return self.directory / "connection.json"

    def address(self, channel: str) -> str:
        return f"ipc://{self.directory}/k-{_PORTS[channel]}"

    def signed(self, parts: Sequence[Part]) -> list[Part]:
        """The parts of a message as ZeroMQ carries them: header, parent header, metadata, content, buffers."""
        signature = hmac.new(self.key, digestmod=hashlib.sha256)
        for part in parts[:4]:
            signature.update(part)
        return [DELIMITER, signature.hexdigest().encode(), *parts]


def message_header(msg_type: str, msg_id: str, session: str) -> bytes:
    return json.dumps(
        {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "username": "perijove",
            "session": session,
            "date": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "version": PROTOCOL_VERSION,
        }
    ).encode()

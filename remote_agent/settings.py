"""What an agent is told when it starts."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ..wire.addresses import is_loopback
from ..wire.errors import InsecureAddress, UsageError

_WEBSOCKET_SCHEME = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def _host_name() -> str:
    return socket.gethostname().split(".")[0] or "agent"


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """``simulate``: stand-in devices as (model, count). ``spares``: how many started kernels wait for a bind."""

    broker_url: str
    token: str = field(repr=False)
    data_dir: Path
    name: str = field(default_factory=_host_name)
    simulate: tuple[tuple[str, int], ...] = ()
    spares: int = 2
    exit_without_broker_s: float | None = None
    spool_limit_bytes: int = 512 << 20  # per kernel, on disk
    insecure: bool = False

    def __post_init__(self) -> None:
        """Refuse addresses that would send the token in the clear.

        Raises:
            UsageError: when the broker's URL cannot be read.
            InsecureAddress: for plain HTTP to another machine, unless ``insecure``.
        """
        parts = urlsplit(self.broker_url)
        if parts.scheme not in _WEBSOCKET_SCHEME or not parts.hostname:
            raise UsageError(f"{self.broker_url!r} is no broker address; write one like https://broker.example:8750")
        plain = _WEBSOCKET_SCHEME[parts.scheme] == "ws"
        if plain and not is_loopback(parts.hostname) and not self.insecure:
            raise InsecureAddress(
                f"{self.broker_url} would send the agent's token unencrypted to another machine; "
                "use https://, or --insecure on a network you trust"
            )

    def link_url(self, path: str) -> str:
        """The WebSocket address of ``path`` (without a leading slash) at the broker."""
        parts = urlsplit(self.broker_url)
        base = parts.path.rstrip("/")
        return urlunsplit((_WEBSOCKET_SCHEME[parts.scheme], parts.netloc, f"{base}/{path}", "", ""))

    @property
    def is_loopback(self) -> bool:
        return is_loopback(urlsplit(self.broker_url).hostname or "")

"""A broker's settings. Seconds at this edge, for people; the core counts milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..wire.addresses import is_loopback
from ..wire.errors import InsecureAddress
from .core.policy import Policy
from .errors import SettingsError
from .ledger.database import default_url


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8765  # 0: any free one
    insecure: bool = False  # listen off loopback without TLS, on purpose
    database_url: str | None = None  # None: SQLite in data_dir
    price_book: Path | None = None
    idle_timeout_s: float = 60.0
    idle_timeout_unkeepable_s: float = 600.0
    away_timeout_s: float = 15.0
    renew_every_s: float = 5.0
    allowance_s: float = 60.0
    expect_agents: int = 0  # so many agents are being started beside this broker: wait a little for them
    abandon_after_s: float = 24 * 3600.0
    exit_when_unused_s: float | None = None
    ready_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()  # further names this broker is reached under
    allowed_origins: tuple[str, ...] = ()  # web pages of other origins that may talk to it
    log_level: str = "warning"
    metrics_without_token: bool = False  # /metrics for whoever asks from this machine itself
    kernels_per_user: int = field(default=1000)

    @property
    def url_of_database(self) -> str:
        return self.database_url or default_url(self.data_dir)

    @property
    def policy(self) -> Policy:
        return Policy(
            idle_timeout_ms=_ms(self.idle_timeout_s),
            idle_timeout_unkeepable_ms=_ms(self.idle_timeout_unkeepable_s),
            away_timeout_ms=_ms(self.away_timeout_s),
            renew_every_ms=_ms(self.renew_every_s),
            allowance_ms=_ms(self.allowance_s),
            expect_agents=self.expect_agents,
            abandon_after_ms=_ms(self.abandon_after_s),
        )

    def check(self) -> None:
        """
        Raises:
            InsecureAddress: when it would listen off loopback without ``insecure``.
            SettingsError: when the times cannot work together.
        """
        if not self.insecure and not is_loopback(self.host):
            raise InsecureAddress(
                f"the broker will not listen on {self.host}: others could read tokens and notebooks on the way. "
                "Put a TLS proxy in front and listen on 127.0.0.1, or accept the risk with --insecure"
            )
        if self.allowance_s < 2 * self.renew_every_s:
            raise SettingsError(
                f"an allowance of {self.allowance_s:g} s is too short for renewals every {self.renew_every_s:g} s; "
                "make it at least twice as long"
            )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

"""Where the broker is, and the token that opens it.

In this order: ``PERIJOVE_URL`` and ``PERIJOVE_TOKEN``; ``config.toml`` in the user's configuration directory (written
by ``perijove login``); the embedded broker of this user. ``PERIJOVE_DATA`` moves every file of ours.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import platformdirs

from ..wire.addresses import is_loopback
from ..wire.errors import InsecureAddress, NotAuthorized, UsageError


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """``url`` has no trailing slash. The token never shows in a repr."""

    url: str
    token: str
    embedded: bool = False

    def __repr__(self) -> str:
        return f"BrokerAddress(url={self.url!r}, embedded={self.embedded})"

    @property
    def websocket_url(self) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(scheme="wss" if parts.scheme == "https" else "ws"))

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def data_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Perijove writes; created, for this user only, when it is not there."""
    chosen = environ.get("PERIJOVE_DATA")
    directory = Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("perijove", appauthor=False))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory.resolve()


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """``config.toml``: beside everything else when ``PERIJOVE_DATA`` says where that is."""
    chosen = environ.get("PERIJOVE_DATA")
    directory = Path(chosen).expanduser() if chosen else Path(platformdirs.user_config_dir("perijove", appauthor=False))
    return directory / "config.toml"


def configured_address(environ: Mapping[str, str] = os.environ) -> BrokerAddress | None:
    """The broker that the user named, or None when the embedded one is meant.

    Raises:
        UsageError: when the configuration cannot be read.
        NotAuthorized: when a broker is named without a token for it.
        InsecureAddress: when the token would cross a network in the clear.
    """
    if url := environ.get("PERIJOVE_URL"):
        token = environ.get("PERIJOVE_TOKEN", "")
        source = "PERIJOVE_URL"
    else:
        path = config_file(environ)
        try:
            document = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UsageError(
                f"{path} cannot be read: {error}; mend it, or write it anew with: perijove login URL"
            ) from None
        url, token, source = document.get("url"), environ.get("PERIJOVE_TOKEN") or document.get("token", ""), str(path)
        if not url:
            return None
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise UsageError(f"{url!r} in {source} is no address of a broker; write it like http://127.0.0.1:8787")
    if not token:
        raise NotAuthorized(
            f"{source} names the broker {url} but there is no token; set PERIJOVE_TOKEN, or run: perijove login {url}"
        )
    check_transport(url, insecure=environ.get("PERIJOVE_INSECURE", "") not in ("", "0"))
    return BrokerAddress(url.rstrip("/"), token)


def check_transport(url: str, *, insecure: bool) -> None:
    """Refuse plain HTTP off loopback: the token and the user's code would be readable on the way.

    Raises:
        InsecureAddress: unless ``insecure``.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or insecure or is_loopback(parts.hostname or ""):
        return
    raise InsecureAddress(
        f"{url} is plain HTTP beyond this machine, so anybody on the way could read the token and your code; "
        "use https://, an SSH tunnel to localhost, or set PERIJOVE_INSECURE=1 on a network you trust"
    )

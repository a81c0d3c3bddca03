"""Who may come in: tokens, Host and Origin. Cookies prove nothing here.

A token comes in ``Authorization: Bearer …`` or ``token …``; as ``?token=`` on WebSockets, where browsers cannot set
headers, and on Jupyter's routes. Unknown tokens are looked up in the ledger each time (they may have been made a moment
ago by another process), known ones are remembered for a while.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from ..wire.addresses import is_loopback
from ..wire.errors import NotAuthorized
from .ledger import tokens
from .ledger.ledger import Ledger
from .ledger.tokens import Identity, Role
from .settings import BrokerSettings

REMEMBER_S = 60.0
MOST_REMEMBERED = 10_000
LONGEST_TOKEN = 512


class NoValidToken(NotAuthorized):
    """There is no token, or nobody's: HTTP's 401. A good token of the wrong role is a 403."""


class Authenticator:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, tuple[Identity, float]] = {}

    async def identify(self, headers: Mapping[bytes, bytes], query: bytes = b"") -> Identity:
        """Whose request this is.

        Raises:
            NoValidToken: when there is no token, or nobody's.
        """
        token = token_in(headers, query)
        if not token or len(token) > LONGEST_TOKEN:
            raise NoValidToken("this needs a token: send it as `Authorization: Bearer …`")
        hashed = tokens.hash_of(token)
        known = self._known.get(hashed)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        identity = await self._ledger.call(lambda connection: tokens.identify(connection, token))
        if identity is None:
            self._known.pop(hashed, None)
            raise NoValidToken("this token is not known here, or was revoked; make one with `perijove token create`")
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[hashed] = (identity, time.monotonic() + REMEMBER_S)
        return identity


def token_in(headers: Mapping[bytes, bytes], query: bytes) -> str:
    """The token of a request; ``query`` is empty where it may not come that way."""
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() in ("bearer", "token"):
        return value.strip()
    if query:
        return parse_qs(query.decode("latin-1")).get("token", [""])[0]
    return ""


def require(identity: Identity, *roles: Role) -> None:
    """
    Raises:
        NotAuthorized: when the token is of another role. An admin may do everything but be an agent.
    """
    if identity.role not in roles:
        allowed = " or ".join(roles)
        raise NotAuthorized(f"this needs a token of role {allowed}; yours is of role {identity.role}")


def check_host_and_origin(headers: Mapping[bytes, bytes], settings: BrokerSettings) -> None:
    """Refuse pages of other sites, and names that somebody else's DNS points here.

    Raises:
        NotAuthorized: naming what was refused.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if not _host_allowed(host, settings):
        raise NotAuthorized(f"this broker is not known as {host!r}; add that name to its allowed hosts")
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and origin not in settings.allowed_origins and urlsplit(origin).netloc != host:
        raise NotAuthorized(f"pages of {origin!r} may not talk to this broker; add it to the allowed origins")


def _host_allowed(host: str, settings: BrokerSettings) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if is_loopback(name) or name in settings.allowed_hosts or name == settings.host:
        return True
    # Listening to everyone on purpose, without a list of names: any name may be its own.
    return settings.insecure and not settings.allowed_hosts and not is_loopback(settings.host)

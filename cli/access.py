"""``perijove login`` and ``perijove token``: who may talk to which broker."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ..client.address import BrokerAddress, check_transport, config_file, data_directory
from ..client.http import BrokerClient
from ..wire.errors import UsageError

ROLES = ("user", "agent", "admin")


def register(app: typer.Typer) -> None:
    app.command()(login)
    tokens = typer.Typer(help="Make tokens.", no_args_is_help=True)
    tokens.command("create")(create_token)
    tokens.callback()(_tokens)
    app.add_typer(tokens, name="token")


def _tokens() -> None:
    """Keeps `create` a sub-command although it is the only one."""


def login(url: str, token: Annotated[str, typer.Option(prompt=True, hide_input=True, help="The token.")]) -> None:
    """Remember a broker and its token; checks that the broker accepts it first."""
    check_transport(url, insecure=os.environ.get("PERIJOVE_INSECURE", "") not in ("", "0"))
    asyncio.run(_check(BrokerAddress(url.rstrip("/"), token.strip())))
    path = config_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f"url = {json.dumps(url)}\ntoken = {json.dumps(token.strip())}\n"  # a JSON string is a TOML string
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    print(f"notebooks of this user now use {url}; see {path}")


def create_token(
    role: Annotated[str, typer.Option(help="user, agent or admin.")],
    name: Annotated[str, typer.Option(help="Whose it is.")],
    data: Annotated[Path | None, typer.Option(help="The data directory of the broker on this machine.")] = None,
) -> None:
    """Make a token and print it, once: the broker keeps only its hash. Run it on the broker's machine."""
    if role not in ROLES:
        raise UsageError(f"--role is one of {', '.join(ROLES)}, and not {role!r}")
    from ..broker.ledger.tokens import Role  # the broker's libraries are only needed here
    from ..broker.settings import BrokerSettings
    from .tokens_on_disk import make_token

    print(make_token(BrokerSettings(data_dir=data or data_directory() / "broker"), Role(role), name))


async def _check(address: BrokerAddress) -> None:
    async with BrokerClient(address) as broker:
        await broker.status()

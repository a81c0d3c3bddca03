"""``perijove drain``: have an agent take no new work, before its machine is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..client.find_broker import find_broker
from ..client.http import BrokerClient
from ..wire.errors import NoSuchAgent, UsageError

LOOK_EVERY_S = 0.5
Document = Mapping[str, Any]


def register(app: typer.Typer) -> None:
    app.command()(drain)


def drain(
    agent: Annotated[str, typer.Argument(help="The agent's name or id, as perijove status shows it.")],
    within: Annotated[
        float | None,
        typer.Option(help="Seconds until what still runs is released; else it runs to its end.", min=0),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Have it take new work again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when nothing runs there any more.")] = False,
) -> None:
    """Have an agent take no new work. Needs an admin's token.

    Idle kernels are released with their variables, what runs goes on. It lasts until --undo.
    """
    if undo and (wait or within is not None):
        raise UsageError("--undo goes with neither --within nor --wait: there is nothing to wait for")
    asyncio.run(_drain(agent, within, undo=undo, wait=wait))


async def _drain(name: str, within_s: float | None, *, undo: bool, wait: bool) -> None:
    async with BrokerClient(await find_broker()) as broker:
        agent_id = agent_named(name, (await broker.status())["agents"])
        answer: Document | None
        answer = await (broker.undo_drain(agent_id) if undo else broker.drain(agent_id, within_s))
        said = as_text(answer)
        print(f"{name} takes new work again" if undo and not answer["drain"] else said, flush=True)
        while wait and is_under_way(answer):
            await asyncio.sleep(LOOK_EVERY_S)
            agents = (await broker.status())["agents"]
            answer = next((agent for agent in agents if agent["id"] == agent_id), None)
            text = f"{name} is gone" if answer is None else as_text(answer)
            if text != said:
                said = text
                print(said, flush=True)


def agent_named(name: str, agents: list[dict[str, Any]]) -> str:
    """
    Raises:
        NoSuchAgent: when there is none, or more than one of that name.
    """
    if any(agent["id"] == name for agent in agents):
        return name
    found = [str(agent["id"]) for agent in agents if agent["name"] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise NoSuchAgent(f"{len(found)} agents are called {name!r}; say which by its id: {', '.join(found)}")
    there = ", ".join(sorted(agent["name"] for agent in agents)) or "none"
    raise NoSuchAgent(f"there is no agent {name!r} at this broker; there is: {there}")


def is_under_way(agent: Document | None) -> bool:
    """An agent that is gone, or whose drain somebody has undone, is waited for no more."""
    return agent is not None and agent["drain"] is not None and agent["drain"]["leases"] > 0


def as_text(agent: Document) -> str:
    """One line: what an admin who waits wants to know."""
    drain = agent["drain"]
    if drain is None:
        return f"{agent['name']} is not draining"
    if not drain["leases"]:
        text = f"{agent['name']} is drained: no kernel holds a GPU there"
        if drain["suspended"]:
            text += f"; {_kernels(drain['suspended'])} would lose their variables if it stopped now"
    else:
        text = f"{agent['name']} is draining: {_kernels(drain['leases'])} still on it"
        if drain["release_at"] is not None:
            text += f", released at {drain['release_at'][11:19]} UTC"
    return f"{text} (asked by {drain['asked_by']})"


def _kernels(count: int) -> str:
    return "1 kernel" if count == 1 else f"{count} kernels"

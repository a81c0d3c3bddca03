"""``/api/agents``: the agents, and emptying one before its machine is worked on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ...wire.errors import NoSuchAgent
from ..broker import Broker
from ..core.events import DrainAsked, DrainUndone
from .access import AsAdmin, AsUser, TheBroker
from .documents import agent_document

router = APIRouter(prefix="/api/agents", tags=["agents"])

LONGEST_WAIT_S = 30 * 24 * 3600
MEMBERS_SHOWN = 64  # of what somebody made up


class DrainWish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    within_s: Annotated[float, Field(ge=0, le=LONGEST_WAIT_S, allow_inf_nan=False)] | None = Field(
        default=None, description="when what still runs is released; null: it is let run to its end"
    )


@router.get("")
async def get_agents(broker: TheBroker, _: AsUser) -> list[dict[str, Any]]:
    return [agent_document(broker, agent) for agent in broker.fleet.agents.values()]


@router.post("/{agent_id}/drain", status_code=202)
async def drain(agent_id: str, broker: TheBroker, identity: AsAdmin, wish: DrainWish | None = None) -> dict[str, Any]:
    """Give it no new leases, release what is idle there, and let the rest run: to its end, or ``within_s``. Done when
    the agent's state is ``drained``. Asked again, the newest word counts. Holds until undone, whoever restarts."""
    _known(broker, agent_id)
    within_s = wish.within_s if wish is not None else None
    within_ms = None if within_s is None else round(within_s * 1000)
    broker.happen(DrainAsked(agent_id, identity.name, within_ms))
    await broker.ledger.durable()
    return _shown(broker, agent_id)


@router.delete("/{agent_id}/drain")
async def undo_drain(agent_id: str, broker: TheBroker, _: AsAdmin) -> dict[str, Any]:
    """It takes new leases again. What an agent has asked for itself ends with its process, or by its own word."""
    _known(broker, agent_id)
    if agent_id in broker.fleet.state.drains:
        broker.happen(DrainUndone(agent_id))
        await broker.ledger.durable()
    return _shown(broker, agent_id)


def _known(broker: Broker, agent_id: str) -> None:
    """
    Raises:
        NoSuchAgent: when nothing is known of it, a drain neither.
    """
    if agent_id not in broker.fleet.agents and agent_id not in broker.fleet.state.drains:
        raise NoSuchAgent(f"there is no agent {agent_id[:MEMBERS_SHOWN]!r} here; perijove status shows those there are")


def _shown(broker: Broker, agent_id: str) -> dict[str, Any]:
    """One that is drained and gone is known by its drain alone."""
    agent = broker.fleet.agents.get(agent_id)
    return {"id": agent_id, "state": "away", "drain": None} if agent is None else agent_document(broker, agent)

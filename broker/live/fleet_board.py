"""The fleet as watchers are told it: whole at first, then only those agents of which something has changed.

With two hundred agents the whole is half a megabyte, and somewhere in a large fleet something is attached or released
every second.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..api.documents import agent_state, drain_document, gpu_documents
from ..core.records import Agent

if TYPE_CHECKING:
    from ..broker import Broker

GPU_FIELDS = (
    "uuid",
    "place",
    "model",
    "memory_bytes",
    "simulated",
    "state",
    "reason",
    "price_microdollars_per_second",
    "price_listed",
)


class FleetBoard:
    """``look`` once a second; then ``told_since`` is what a watcher of an older look still has to be told."""

    def __init__(self, broker: Broker) -> None:
        self.version = 0
        self._broker = broker
        self._agents: dict[str, tuple[tuple[Any, ...], str]] = {}  # id → what its document depends on, the document
        self._whole = b""
        self._change = b""  # from the version before to this one

    def look(self) -> None:
        fleet = self._broker.fleet
        changed: list[str] = []
        for agent in fleet.agents.values():
            basis = self._basis(agent)
            known = self._agents.get(agent.id)
            if known is None or known[0] != basis:
                document = _dumps(self._document(agent))
                self._agents[agent.id] = (basis, document)
                changed.append(document)
        gone = [agent_id for agent_id in self._agents if agent_id not in fleet.agents]
        for agent_id in gone:
            del self._agents[agent_id]
        if changed or gone or not self.version:
            self.version += 1
            self._whole = b""
            self._change = _event("agents", f'{{"changed":[{",".join(changed)}],"gone":{_dumps(gone)}}}')

    def told_since(self, version: int) -> bytes:
        """Events that bring a watcher from an older version to this one; 0 for one that has been told nothing."""
        if version == self.version:
            return b""
        if version and version == self.version - 1:
            return self._change
        if not self._whole:
            agents = ",".join(document for _, document in self._agents.values())
            self._whole = _event("fleet", f'{{"version":{_dumps(self._broker.version)},"agents":[{agents}]}}')
        return self._whole

    def _basis(self, agent: Agent) -> tuple[Any, ...]:
        """All that the document is made of: GPUs are values, so the same ones need no look inside."""
        state = self._broker.fleet.state
        gpus = tuple(agent.gpus.values())
        held = tuple(state.is_held(agent, gpu) for gpu in gpus)
        about = (agent.link_id is None, agent.name, agent.version, agent.python, agent.spares)
        drain = drain_document(self._broker, agent)
        return (gpus, held, about, None if drain is None else tuple(drain.values()))

    def _document(self, agent: Agent) -> dict[str, Any]:
        return {
            "id": agent.id,
            "name": agent.name,
            "state": agent_state(self._broker, agent),
            "drain": drain_document(self._broker, agent),
            "version": agent.version,
            "python": agent.python,
            "spares": agent.spares,
            "gpus": [
                {name: gpu[name] for name in GPU_FIELDS} for gpu in gpu_documents(self._broker, agent, usage=False)
            ],
        }


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()

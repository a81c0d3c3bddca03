"""The documents that routes share: a kernel as Jupyter and we describe it, GPUs with prices, agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...wire.models import GpuState, KernelState
from ..core.records import Agent, Kernel
from ..ledger.bill import iso

if TYPE_CHECKING:
    from ..broker import Broker

# Jupyter's execution_state for each of ours: clients of that API know no other words.
_JUPYTER_STATES = {"queued": "starting", "starting": "starting", "terminated": "dead"}


def kernel_document(broker: Broker, kernel: Kernel) -> dict[str, Any]:
    """Jupyter's kernel model and our ``perijove`` object (wire.models.KernelView)."""
    now = broker.now()
    view = broker.fleet.view(kernel, now)
    last_activity_ms = now.wall - (0 if kernel.busy else max(0, now.boot - kernel.active_at))
    return {
        "id": kernel.id,
        "name": kernel.name,
        # JupyterLab's gateway client parses six digits of a second's fraction, and nothing else.
        "last_activity": iso(last_activity_ms)[:-1] + "000Z",
        "execution_state": _execution_state(broker, kernel),
        "connections": _connections(broker, kernel),
        "perijove": {**view.model_dump(mode="json"), "user": kernel.user},
    }


def _execution_state(broker: Broker, kernel: Kernel) -> str:
    """What its front-ends see, where they are here: to them a kernel without a GPU is idle, and one that waits busy."""
    hosted = broker.doors.execution_state(kernel.id)
    if hosted is not None:
        return hosted
    return "busy" if kernel.busy else _JUPYTER_STATES.get(kernel.state.value, "idle")


def _connections(broker: Broker, kernel: Kernel) -> int:
    if broker.doors.holds_link(kernel.id):
        return broker.doors.connections(kernel.id)
    return 0 if kernel.link_id is None else 1


def kernel_line(broker: Broker, kernel: Kernel) -> dict[str, Any]:
    """A kernel in ``perijove status``."""
    view = broker.fleet.view(kernel, broker.now()).model_dump(mode="json")
    lease = kernel.lease.record if kernel.lease is not None else None
    return {
        **view,
        "user": kernel.user,
        "gpu": lease.model if lease is not None else view["gpu_spec"],
        "agent": lease.agent_name if lease is not None else None,
        "simulated": lease.simulated if lease is not None else False,
        "connected": kernel.link_id is not None,
    }


def agent_document(broker: Broker, agent: Agent) -> dict[str, Any]:
    now = broker.now()
    host = broker.usage.host(agent.id, now)
    return {
        "id": agent.id,
        "name": agent.name,
        "state": agent_state(broker, agent),
        "drain": drain_document(broker, agent),
        "away_s": None if agent.lost_at is None else (now.boot - agent.lost_at) / 1000,
        "version": agent.version,
        "python": agent.python,
        "spares": agent.spares,
        "isolated": agent.isolated,
        "host": None if host is None else host.model_dump(mode="json"),
        "gpus": gpu_documents(broker, agent),
    }


AGENT_STATES = ("connected", "draining", "drained", "away")


def agent_state(broker: Broker, agent: Agent) -> str:
    """``connected``, ``away``, or of a connected one ``draining`` while leases are open there, then ``drained``."""
    if agent.link_id is None:
        return "away"
    if agent.id not in broker.fleet.state.drains:
        return "connected"
    return "draining" if _leases_on(broker, agent) else "drained"


def drain_document(broker: Broker, agent: Agent) -> dict[str, Any] | None:
    """Who asked (``by_agent``: no admin, but the agent for itself), when what runs is released, how many leases are
    still open there, and how many suspended kernels would lose their variables if the agent stopped now; None where
    nobody has asked."""
    drain = broker.fleet.state.drains.get(agent.id)
    if drain is None:
        return None
    kept = sum(k.agent_id == agent.id and k.state is KernelState.SUSPENDED for k in broker.fleet.living_kernels())
    return {
        "asked_by": drain.asked_by,
        "by_agent": drain.record is None,
        "asked_at": None if drain.record is None else iso(drain.record.asked_at),
        "release_at": None if drain.record is None or drain.record.release_at is None else iso(drain.record.release_at),
        "leases": _leases_on(broker, agent),
        "suspended": kept,
    }


def _leases_on(broker: Broker, agent: Agent) -> int:
    return sum(k.lease is not None and k.agent_id == agent.id for k in broker.fleet.kernels.values())


def gpu_documents(broker: Broker, agent: Agent, *, usage: bool = True) -> list[dict[str, Any]]:
    """An agent's GPUs with prices; one with an open lease is held, whatever an older inventory says."""
    prices = broker.fleet.state.prices
    now = broker.now()
    documents = []
    for gpu in sorted(agent.gpus.values(), key=lambda gpu: gpu.order):
        document = gpu.model_dump(mode="json")
        if gpu.state is GpuState.FREE and broker.fleet.state.is_held(agent, gpu):
            document["state"] = GpuState.HELD.value
        document |= {
            "place": gpu.place,
            "agent": agent.id,
            "agent_name": agent.name,
            "connected": agent.link_id is not None,
            "price_microdollars_per_second": prices.of_gpu(gpu.model, gpu.memory_bytes),
            "price_listed": prices.lists(gpu.model),
        }
        if usage:
            sample = broker.usage.gpu(agent.id, gpu.uuid, now)
            told = None if sample is None else sample.model_dump(mode="json", exclude={"uuid", "simulated"})
            document["usage"] = told
        documents.append(document)
    return documents

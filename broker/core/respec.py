"""Another GPU spec for a kernel: what it holds may do, may have to go back first, or its variables stand in the way.

A spec only changes when somebody asks for it, and variables are only given up by a restart: an attach that would cost
them is refused and says so.
"""

from __future__ import annotations

from collections import Counter

from ...wire.errors import InvalidGpuSpec, NoSuchGpu, VariablesElsewhere
from ...wire.gpu_spec import Choice, GpuSpec, parse_gpu_spec
from ...wire.models import Gpu, GpuState, KernelState
from .clock import Now
from .records import Agent, Kernel, LeaseRecord
from .state import FleetState


class Refused(Exception):
    """The spec stays as it is; ``code`` and the text are for whoever asked."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def ask_for(state: FleetState, kernel: Kernel, text: str, now: Now, *, giving_up: bool) -> None:
    """The kernel wants this spec from now on. ``giving_up``: its process ends anyhow, so no variables are in the way.

    Raises:
        Refused: when the spec cannot be read, or its variables are where no such GPU is.
    """
    try:
        spec = parse_gpu_spec(text)
    except InvalidGpuSpec as error:
        raise Refused(error.code, error.message) from None
    agent = state.agents.get(kernel.agent_id or "")
    giving_up = giving_up or kernel.restart_wish or kernel.release_wish == "end"
    same = spec == kernel.spec and kernel.respec_wish is None
    met = kernel.lease is not None and _meets(kernel.lease.record, agent, spec, unknown=same)
    stays = met or (_could_meet(agent, spec) and not drains(state, kernel))
    if kernel.incarnation is not None and not stays and not giving_up:
        raise Refused(VariablesElsewhere.code, _elsewhere(kernel, agent, spec))
    if kernel.lease is None or met:
        kernel.respec_wish = None
    else:
        kernel.respec_wish = "keep" if stays and not giving_up else "end"
    if spec != kernel.spec:
        _change(state, kernel, spec, now)


def _change(state: FleetState, kernel: Kernel, spec: GpuSpec, now: Now) -> None:
    kernel.spec_before = kernel.spec_before or kernel.spec
    kernel.spec = spec
    kernel.refused_by.clear()
    kernel.last_refusal, kernel.binds_tried = "", 0
    if kernel.state is KernelState.QUEUED:  # another wish: its place is that of one who asks now
        kernel.asked_at = now.boot
        state.plan_needed = True
    state.touch(kernel)


def spec_is_met(kernel: Kernel) -> None:
    """A GPU of the new spec is there: it is the kernel's own now."""
    if kernel.respec_wish is None:
        kernel.spec_before = None


def refused(kernel: Kernel, code: str) -> None:
    """Nobody has what was asked for: the kernel is not left with a wish that cannot come true."""
    if code == NoSuchGpu.code and kernel.spec_before is not None:
        kernel.spec, kernel.spec_before = kernel.spec_before, None


def _meets(lease: LeaseRecord, agent: Agent | None, spec: GpuSpec, *, unknown: bool) -> bool:
    """Whether what is held is what the spec asks for, no less and no more. ``unknown``: the answer where that takes the
    size of GPUs that a restarted broker has not heard of yet."""
    if spec.is_cpu or not lease.gpus:
        return spec.is_cpu and not lease.gpus
    choices = [choice for choice in spec.choices if choice.count == len(lease.gpus)]
    gpus = [agent.gpus[uuid] for uuid in lease.gpus if uuid in agent.gpus] if agent is not None else []
    if len(gpus) == len(lease.gpus):
        return any(_accepts(choice, gpus) for choice in choices)
    if any(choice.min_memory_gib is None and choice.accepts(lease.model, 0) for choice in choices):
        return True
    return unknown and any(choice.min_memory_gib is not None for choice in choices)


def _accepts(choice: Choice, gpus: list[Gpu]) -> bool:
    return all(choice.accepts(gpu.model, gpu.memory_bytes) for gpu in gpus)


def _could_meet(agent: Agent | None, spec: GpuSpec) -> bool:
    """Whether the agent has such GPUs at all, free or not."""
    if agent is None:
        return False
    if spec.is_cpu:
        return True
    gpus = [gpu for gpu in agent.gpus.values() if gpu.state is not GpuState.LOST]
    for choice in spec.choices:
        models = Counter(gpu.model for gpu in gpus if choice.accepts(gpu.model, gpu.memory_bytes))
        if models and max(models.values()) >= choice.count:
            return True
    return False


def drains(state: FleetState, kernel: Kernel) -> bool:
    """Whether the kernel's process is on an agent that is there and takes no new leases."""
    return kernel.incarnation is not None and kernel.drain is not None and state.link_of(kernel.agent_id) is not None


def variables_are_draining(kernel: Kernel, spec: GpuSpec) -> str:
    return (
        f"the variables of this kernel are on {kernel.agent_name}, and {kernel.drain}: it runs nothing new. They stay "
        "there until that is undone or the agent stops; "
        f"to give them up and start anew elsewhere, run: %gpu restart {spec}"
    )


def _elsewhere(kernel: Kernel, agent: Agent | None, spec: GpuSpec) -> str:
    if kernel.drain is not None and agent is not None and agent.link_id is not None and _could_meet(agent, spec):
        return variables_are_draining(kernel, spec)
    if agent is None or (agent.link_id is None and not agent.gpus):
        has = "which is out of contact"
    else:
        counts = Counter(gpu.model for gpu in agent.gpus.values() if gpu.state is not GpuState.LOST)
        there = ", ".join(f"{number} × {model}" for model, number in sorted(counts.items())) or "no GPU"
        has = f"which has no {spec} (it has {there})"
    return (
        f"the variables of this kernel are on {kernel.agent_name}, {has}; "
        f"to give them up and start anew on {spec}, run: %gpu restart {spec}"
    )

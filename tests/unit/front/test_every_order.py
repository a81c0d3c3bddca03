"""Whatever happens in whatever order: every request is answered whole and once, and no cell runs twice."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from perijove.wire.errors import NoSuchGpu, UsageError
from perijove.wire.front.answers import CommandAnswer
from perijove.wire.models import KernelState

from .world import World

REPLIES = {
    "execute_request": "execute_reply",
    "complete_request": "complete_reply",
    "kernel_info_request": "kernel_info_reply",
    "comm_info_request": "comm_info_reply",
    "comm_msg": None,
}


class AnyOrder(RuleBasedStateMachine):
    """The process and the link behave as the protocol says; who does what when is anybody's guess."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.asked: dict[str, str] = {}
        self.running: Any = None
        self.codes = 0
        self.ran: list[str] = []

    # front-ends

    @rule(stops=st.booleans(), client=st.sampled_from(["lab", "console"]))
    def run_cell(self, stops: bool, client: str) -> None:
        self.codes += 1
        request = self.world.run(f"cell {self.codes}", stop_on_error=stops, client=client)
        self.asked[request] = "execute_request"

    @rule()
    def run_hidden_cell(self) -> None:
        self.asked[self.world.run("hidden", store_history=False)] = "execute_request"

    @rule()
    def run_nothing(self) -> None:
        self.asked[self.world.run("# nothing")] = "execute_request"

    @rule()
    def run_gpu_line(self) -> None:
        self.asked[self.world.run("%gpu status")] = "execute_request"

    @rule(msg_type=st.sampled_from(["complete_request", "kernel_info_request", "comm_info_request"]))
    def ask(self, msg_type: str) -> None:
        self.asked[self.world.ask(msg_type)] = msg_type

    @rule()
    def move_slider(self) -> None:
        content = {"comm_id": "c", "data": {"method": "update", "state": {"value": 1}}}
        self.asked[self.world.ask("comm_msg", content)] = "comm_msg"

    @rule()
    def interrupt(self) -> None:
        request = self.world.ask("interrupt_request", channel="control")
        assert self.world.types(request)[:3] == ["busy", "interrupt_reply", "idle"]

    # %gpu lines

    @precondition(lambda self: self.world.commands)
    @rule(fails=st.booleans())
    def commands_end(self, fails: bool) -> None:
        if fails:
            self.world.answer_commands(error=UsageError("no such command"))
        else:
            self.world.answer_commands(CommandAnswer("done\n"))

    # the broker

    @precondition(lambda self: self.world.asked)
    @rule()
    def grant(self) -> None:
        self.world.grant()

    @precondition(lambda self: self.world.asked and self.world.state is not KernelState.QUEUED)
    @rule()
    def queue(self) -> None:
        self.world.queue()

    @precondition(lambda self: self.world.asked)
    @rule()
    def refuse(self) -> None:
        self.world.state = KernelState.DETACHED if self.world.process is None else KernelState.SUSPENDED
        self.world.tell()
        self.world.refuse(NoSuchGpu("there is none"))

    @precondition(lambda self: self.world.state is KernelState.ATTACHED and self.running is None)
    @rule()
    def release(self) -> None:
        """Cells that have not been begun cross it, and stay with the link."""
        self.world.release()
        assert self.world.process is not None
        if self.world.process.given:
            self.world.carry_out(self.world.front.undeliverable(self.world.now_s))

    @precondition(lambda self: self.world.process is not None)
    @rule()
    def kill(self) -> None:
        assert self.world.process is not None
        self.ran += self.world.process.ran
        self.running = None
        self.world.kill("host-a went away")

    @rule(seconds=st.sampled_from([0.4, 2.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    # the process

    @precondition(lambda self: self.world.state is KernelState.ATTACHED and self.running is None)
    @rule()
    def begin(self) -> None:
        self.heed_interrupts()
        if self.world.process is not None and self.world.process.given:
            self.running = self.world.begin()

    @precondition(lambda self: self.running is not None)
    @rule(error=st.sampled_from(["", "ValueError"]))
    def finish(self, error: str) -> None:
        running, self.running = self.running, None
        self.world.finish(running, error=error)

    def heed_interrupts(self) -> None:
        if self.world.process is None:
            self.world.interrupts.clear()
        elif self.world.state is KernelState.ATTACHED:
            self.world.heed_interrupts()

    # what must hold

    @invariant()
    def nothing_is_answered_twice(self) -> None:
        for request, msg_type in self.asked.items():
            types = self.world.types(request)
            assert types.count(REPLIES[msg_type] or "none") <= 1, (types, msg_type)

    def teardown(self) -> None:
        """In the end a GPU is there and everything is done: then every request has been answered whole."""
        world = self.world
        if self.running is not None:
            self.finish("")
        for _ in range(100):
            self.heed_interrupts()
            if world.commands:
                world.answer_commands(CommandAnswer("done\n"))
            elif world.asked or (world.process is not None and world.state is not KernelState.ATTACHED):
                world.grant()
            elif world.process is not None and world.process.given:
                world.finish(world.begin())
            else:
                break
        for request, msg_type in self.asked.items():
            types = world.types(request)
            statuses = [word for word in types if word in ("busy", "idle")]
            assert statuses[0] == "busy", (msg_type, types)
            assert "idle" in statuses, (msg_type, types)
            reply = REPLIES[msg_type]
            if reply is not None:
                assert types.count(reply) == 1, (msg_type, types)
        ran = self.ran + (world.process.ran if world.process is not None else [])
        cells = [code for code in ran if code.startswith("cell")]
        assert len(cells) == len(set(cells)), "a cell ran twice"
        assert cells == sorted(cells, key=lambda code: int(code.split()[1])), "cells ran out of order"
        assert world.front.execution_state == "idle"


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase

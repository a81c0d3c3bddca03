"""A client as the core sees it: it asks, is answered once, and believes what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perijove.broker.core.events import (
    ClientLinkClosed,
    ClientLinkOpened,
    ClientSaid,
)
from perijove.wire import link
from perijove.wire.gpu_spec import parse_gpu_spec
from perijove.wire.models import KernelState, KernelView

if TYPE_CHECKING:
    from .world import World


@dataclass
class SimClient:
    world: World
    kernel_id: str
    link_id: str | None = None
    view: KernelView | None = None
    heard: list[Any] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)  # request on the open link → what it was
    answers: dict[str, link.Reply] = field(default_factory=dict)

    def open(self, session: str = "") -> None:
        """Connect; what was asked before and not answered counts as asked no more: a real client would ask again."""
        self.asked.clear()
        self.link_id = self.world.new_id("clientlink")
        self.world.links.add(self.link_id)
        self.world.clients_by_link[self.link_id] = self
        self.world.happen(ClientLinkOpened(self.kernel_id, self.link_id, session))

    def close(self) -> None:
        if self.link_id is not None:
            link_id = self.link_id
            self.lost()
            self.world.happen(ClientLinkClosed(self.kernel_id, link_id))

    def lost(self) -> None:
        if self.link_id is not None:
            self.world.links.discard(self.link_id)
            self.link_id = None
        self.asked.clear()

    def ask(self, kind: type[Any], **fields: Any) -> str:
        request_id = self.world.new_id("ask")
        self.asked[request_id] = kind.__name__
        self.say(kind(request_id=request_id, **fields))
        return request_id

    def say(self, message: Any) -> None:
        assert self.link_id is not None
        self.world.happen(ClientSaid(self.kernel_id, self.link_id, message))

    def hear(self, message: Any) -> None:
        self.heard.append(message)
        match message:
            case link.LinkWelcome() | link.State():
                self.view = message.kernel
            case link.Reply():
                assert message.request_id in self.asked, "answered twice, or on another link"
                del self.asked[message.request_id]
                self.answers[message.request_id] = message
                if self.world.strict and not message.code and message.request_id in self.world.attach_ids:
                    assert self.view is not None
                    assert self.view.state is KernelState.ATTACHED
                    if message.request_id in self.world.respec_ids:
                        self._has_what_it_asked_for(self.view)

    def _has_what_it_asked_for(self, view: KernelView) -> None:
        spec = parse_gpu_spec(view.gpu_spec)
        assert view.gpus is not None
        if spec.is_cpu:
            assert not view.gpus.uuids
            return
        gpus = [gpu for agent in self.world.agents.values() for gpu in agent.gpus if gpu.uuid in view.gpus.uuids]
        assert any(
            len(gpus) == choice.count and all(choice.accepts(gpu.model, gpu.memory_bytes) for gpu in gpus)
            for choice in spec.choices
        )

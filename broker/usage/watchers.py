"""Who watches a kernel on its own link, and is sent what it and its GPUs do as often as its agent says it.

Sent when it comes, so nothing here has a clock; a peer that takes nothing is passed over and gets what it missed with
the next one, as far as the history goes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ...wire.link import UsageMessage

if TYPE_CHECKING:
    from ..core.clock import Now
    from ..core.records import Kernel
    from ..links.link import Peer
    from .book import UsageBook

FIRST_SAMPLES = 120  # of the history, with the first message: what a panel's charts show


class Watchers:
    def __init__(self, book: UsageBook) -> None:
        self._book = book
        self._sent: dict[str, dict[str, int]] = defaultdict(dict)  # kernel → link → number of the last sample sent

    def set(self, kernel: Kernel, link: Peer, now: Now, *, on: bool) -> None:
        """Begin or end; who begins is told at once how things are."""
        if on:
            self._sent[kernel.id][link.id] = max(0, self._book.count(kernel.id) - FIRST_SAMPLES)
            self._tell(kernel, link, now)
        else:
            self.left(kernel.id, link)

    def left(self, kernel_id: str, link: Peer) -> None:
        links = self._sent.get(kernel_id)
        if links is not None:
            links.pop(link.id, None)
            if not links:
                del self._sent[kernel_id]

    def came(self, kernels: list[Kernel], links: dict[str, Peer], now: Now) -> None:
        """There are new samples of these kernels."""
        for kernel in kernels:
            for link_id in list(self._sent.get(kernel.id, ())):
                if (link := links.get(link_id)) is not None and link.blocked_since is None:
                    self._tell(kernel, link, now)

    def _tell(self, kernel: Kernel, link: Peer, now: Now) -> None:
        sent = self._sent[kernel.id]
        usage, count = self._book.since(kernel, sent[link.id], now)
        sent[link.id] = count
        link.say(UsageMessage(usage=usage).model_dump_json())

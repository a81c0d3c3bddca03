"""Whether somebody can see the panel: a front-end that has its script says so when the widget is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SAID_WITHIN_S = 0.5
LOOK_EVERY_S = 0.02


class Onlookers:
    """They are given a moment to say so, once: after that, who has not can't."""

    def __init__(self, is_drawn: Callable[[], bool]) -> None:
        self._is_drawn = is_drawn
        self._asked = False

    async def can_see(self) -> bool:
        if not self._asked:
            self._asked = True
            for _ in range(round(SAID_WITHIN_S / LOOK_EVERY_S)):
                if self._is_drawn():
                    break
                await asyncio.sleep(LOOK_EVERY_S)
        return self._is_drawn()

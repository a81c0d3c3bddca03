"""The money of one kernel: its budget, what its leases have cost, and what may still come. Whole nano-dollars.

A budget is spent by proof, like every bill: a lease counts with what its agent has reported. An agent that vanished may
still prove time that nobody has counted yet; so much is held back, so that it cannot be spent twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .purse import LimitRecord

WARN_AT_PERCENT = 80


@dataclass(slots=True)
class Account:
    budget: int | None = None  # this kernel's own; None: no limit
    cap: LimitRecord | None = None  # what its user or an admin allows each of the user's kernels
    spent: int = 0  # by leases that are closed
    spent_simulated: int = 0  # the part of it that is simulated
    held_back: dict[str, int] = field(default_factory=dict)  # by lease: closed, and its agent may prove more

    def charge(self, cost: int, *, simulated: bool) -> None:
        self.spent += cost
        if simulated:
            self.spent_simulated += cost

    @property
    def most(self) -> int | None:
        """What it may cost altogether: the lower one of its own budget and the cap. None: no limit."""
        amounts = [self.budget, None if self.cap is None else self.cap.nanodollars]
        return min((amount for amount in amounts if amount is not None), default=None)

    @property
    def is_capped(self) -> bool:
        """Whether the cap is what limits it."""
        return self.cap is not None and self.most == self.cap.nanodollars

    @property
    def left(self) -> int | None:
        """For the open lease, from its beginning, or the next one; negative when more was spent. None: no limit."""
        return None if self.most is None else self.most - self.spent - sum(self.held_back.values())

    def limit_ms(self, nanodollars_per_ms: int) -> int | None:
        """How long a lease may run altogether on what is left; None: no limit."""
        if self.left is None or nanodollars_per_ms == 0:
            return None
        return max(0, self.left) // nanodollars_per_ms

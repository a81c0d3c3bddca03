"""The numbers behind the broker's decisions, in milliseconds. Settings fill them in; the core only reads them."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_MS = 60_000
LETTING_GO_MS = 20_000


@dataclass(frozen=True, slots=True)
class Policy:
    idle_timeout_ms: int = MINUTE_MS
    idle_timeout_unkeepable_ms: int = 10 * MINUTE_MS
    away_timeout_ms: int = 15_000
    local_activity_limit_ms: int = 30 * MINUTE_MS
    renew_every_ms: int = 5_000
    allowance_ms: int = MINUTE_MS
    # What an agent's clock and the way to it may add to an allowance before the broker takes the agent for gone.
    margin_ms: int = 5_000
    # An agent that leaves a question open for so long is cut off; its next Hello says how things really are.
    answer_patience_ms: int = 2 * MINUTE_MS
    # A wish that nothing can meet waits for so long where agents may be just about to connect, then fails.
    settle_ms: int = 1_500
    expect_agents: int = 0
    expect_for_ms: int = 15_000
    # How long a suspended kernel waits for the host that has its variables before it starts anew elsewhere.
    home_wait_ms: int = 10 * MINUTE_MS
    home_away_wait_ms: int = 75_000
    # An idle kernel on an agent that drains is released after so long: Run All must not lose its GPU between two cells.
    drain_idle_ms: int = 2_000
    # A kernel without a GPU whose client has been away for so long is ended.
    abandon_after_ms: int = 24 * 60 * MINUTE_MS
    share_half_life_ms: int = 60 * MINUTE_MS

    @property
    def vanish_after_ms(self) -> int:
        """From the last contact with an agent until its leases count as over."""
        return self.allowance_ms + self.margin_ms

    @property
    def unheard_ms(self) -> int:
        """What a lease may run beyond what is known of it: until its agent counts as gone, and what letting go takes;
        and a restarted broker's last renewal may be older."""
        return self.vanish_after_ms + LETTING_GO_MS

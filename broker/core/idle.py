"""When an attached kernel has been idle for long enough to give its GPU back, and why.

Idle means no cell running or queued *and* the kernel's own processes quiet on the GPU; an open tab is not activity.
A busy kernel is never released by time, however silent its client is: code that holds the interpreter's lock stops
heartbeats for minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from .clock import BootMs
from .policy import Policy


@dataclass(frozen=True, slots=True)
class Activity:
    """What is known about one attached kernel. ``None`` stands for "is not so"."""

    quiet_since: BootMs | None  # no cell runs or waits, and the GPU is quiet
    keepable: bool
    local_busy_since: BootMs | None = None  # the notebook runs cells of its own, by its own word
    away_since: BootMs | None = None  # the client's link is closed
    own_timeout_ms: int | None = None  # this kernel's user chose a timeout
    kept_until: BootMs | None = None  # its user asked for the GPU to be kept
    draining: bool = False  # its agent is to be emptied


@dataclass(frozen=True, slots=True)
class Deadline:
    at: BootMs
    reason: str  # for people


def idle_timeout_ms(activity: Activity, policy: Policy) -> int:
    """How long this kernel may be idle, as things are now. A drain hurries no release that would lose variables."""
    if activity.draining and activity.keepable:
        return min(policy.drain_idle_ms, _timeout_ms(activity, policy))
    return _timeout_ms(activity, policy)


def _timeout_ms(activity: Activity, policy: Policy) -> int:
    if activity.own_timeout_ms is not None:
        return activity.own_timeout_ms
    return policy.idle_timeout_ms if activity.keepable else policy.idle_timeout_unkeepable_ms


def release_deadline(activity: Activity, policy: Policy) -> Deadline | None:
    """When the kernel's GPU goes back if nothing happens; None while something runs on it."""
    if activity.quiet_since is None:
        return None
    deadline = _by_time(activity, activity.quiet_since, policy)
    emptied = activity.draining and activity.keepable  # nothing is lost by it, and the agent is needed otherwise
    if activity.kept_until is not None and activity.kept_until > deadline.at and not emptied:
        return Deadline(activity.kept_until, "idle, and kept for as long as was asked for")
    return deadline


def _by_time(activity: Activity, quiet_since: BootMs, policy: Policy) -> Deadline:
    since = quiet_since
    timeout = idle_timeout_ms(activity, policy)
    if activity.local_busy_since is not None:
        # Counts until it stops, at most up to the limit; then the ordinary timeout begins.
        since = BootMs(max(since, activity.local_busy_since + policy.local_activity_limit_ms))
    idle = Deadline(BootMs(since + timeout), f"idle for {timeout / 1000:g} s")
    if activity.away_since is None:
        return idle
    away = Deadline(
        BootMs(max(quiet_since, activity.away_since) + _away_ms(activity, policy)),
        f"idle, and its notebook has been away for {_away_ms(activity, policy) / 1000:g} s",
    )
    return min(idle, away, key=lambda deadline: deadline.at)


def _away_ms(activity: Activity, policy: Policy) -> int:
    """How long an idle kernel waits for its client.

    A notebook that was busy when its link went silent may hold the interpreter's lock rather than be gone. Where a
    release would lose variables, it gets the benefit of the doubt for as long as an idle kernel would.
    """
    if activity.local_busy_since is not None and not activity.keepable:
        return max(policy.away_timeout_ms, idle_timeout_ms(activity, policy))
    return policy.away_timeout_ms

"""The transition table: complete, sensible, and the one the documentation shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from perijove.broker.core.lease import STATES, TRANSITIONS, Event, ImpossibleTransition, as_markdown, next_state
from perijove.wire.models import KernelState as S

DOCUMENT = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_the_documentation_shows_this_very_table() -> None:
    assert as_markdown() in DOCUMENT.read_text("utf-8")


def test_every_state_can_be_reached_and_left_and_every_event_happens() -> None:
    targets = {S(t) for t in TRANSITIONS.values() if t != "at rest"} | {S.DETACHED, S.SUSPENDED}
    assert targets == set(STATES)
    assert {state for state, _ in TRANSITIONS} == set(STATES) - {S.TERMINATED}
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_every_state_but_the_last_can_end() -> None:
    for state in set(STATES) - {S.TERMINATED}:
        assert next_state(state, Event.ENDED, process_lives=True) is S.TERMINATED


def test_at_rest_depends_on_the_process() -> None:
    assert next_state(S.QUEUED, Event.LEFT_QUEUE, process_lives=True) is S.SUSPENDED
    assert next_state(S.QUEUED, Event.LEFT_QUEUE, process_lives=False) is S.DETACHED


@pytest.mark.parametrize("event", list(Event))
def test_nothing_leads_out_of_terminated(event: Event) -> None:
    with pytest.raises(ImpossibleTransition):
        next_state(S.TERMINATED, event, process_lives=False)

"""The coherence rules, played by two model interpreters against the state machine."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from perijove.magics.variables.coherence import Coherence, Verdict

A = ("a",)


def offered(coherence, fingerprint=b"1"):
    versions = coherence.offer(A, fingerprint, {"a": fingerprint})
    coherence.settle()
    return versions


def test_an_agreed_value_need_not_travel():
    coherence = Coherence()
    assert not coherence.is_current(A, b"1")
    assert offered(coherence) == {"a": (0, 1)}
    assert coherence.is_current(A, b"1")
    assert coherence.use(A) == {"a": 1}


def test_a_changed_value_is_the_next_version():
    coherence = Coherence()
    offered(coherence)
    assert coherence.offer(A, b"2", {"a": b"2"}) == {"a": (1, 2)}


def test_an_offer_that_nobody_confirmed_is_made_again():
    coherence = Coherence()
    coherence.offer(A, b"1", {"a": b"1"})
    coherence.start_cell()
    assert not coherence.is_current(A, b"1")
    assert coherence.offer(A, b"1", {"a": b"1"}) == {"a": (0, 1)}


def test_new_partners_make_a_group_travel_again():
    coherence = Coherence()
    offered(coherence)
    assert not coherence.is_current(("a", "b"), b"1")


@pytest.mark.parametrize(
    ("base", "untouched", "verdict"),
    [(1, True, Verdict.APPLY), (2, True, Verdict.APPLY), (1, False, Verdict.CONFLICT), (0, True, Verdict.CONFLICT)],
)
def test_judging_what_comes_back(base, untouched, verdict):
    coherence = Coherence()
    offered(coherence)
    assert coherence.judge("a", base, untouched=untouched) is verdict


def test_deletion_is_noticed_once():
    coherence = Coherence()
    offered(coherence)
    assert coherence.deleted({"a": 1}) == {}
    assert coherence.deleted({}) == {"a": 1}
    coherence.drop(["a"])
    assert coherence.deleted({}) == {}


def test_a_new_process_has_nothing():
    coherence = Coherence()
    offered(coherence)
    coherence.forget()
    assert not coherence.is_current(A, b"1")


class TwoInterpreters(RuleBasedStateMachine):
    """One name, two stores. The truth is what one interpreter would hold: each write is newer than the last.

    ``run_cell`` is a cell that reads the name and perhaps changes it; ``hidden`` writes over there without a word.
    """

    @initialize()
    def begin(self):
        self.coherence = Coherence()
        self.clock = 0
        self.local = self.remote = None
        self.remote_agreed = (0, None)  # version and value that the kernel's end last agreed on

    def tick(self):
        self.clock += 1
        return self.clock

    @rule()
    def change_locally(self):
        self.local = self.tick()

    @rule()
    def hidden_change(self):
        if self.remote is not None:
            self.remote = self.tick()

    @rule()
    def new_process(self):
        self.coherence.forget()
        self.remote, self.remote_agreed = None, (0, None)

    @rule(writes=st.booleans(), meanwhile=st.booleans(), lost=st.booleans())
    def run_cell(self, writes, meanwhile, lost):
        if self.local is None:
            return
        coherence = self.coherence
        coherence.start_cell()
        fingerprint = str(self.local).encode()
        version, value = self.remote_agreed
        if coherence.is_current(A, fingerprint):
            expected = coherence.use(A)["a"]
            owed = version > expected
        else:
            base, new = coherence.offer(A, fingerprint, {"a": fingerprint})["a"]
            if version > base > 0 or (self.remote is not None and self.remote != value):
                return  # the kernel's end refuses: changed on both sides
            self.remote, self.remote_agreed, owed = self.local, (new, self.local), False
        seen = self.remote
        assert seen is not None
        assert seen >= self.local, "a cell saw a value older than the notebook's"
        if writes:
            self.remote = self.tick()
        if meanwhile:
            self.local = self.tick()
        version, value = self.remote_agreed
        returned = None
        if owed or self.remote != value:
            returned = (version, version + 1)
            self.remote_agreed = (version + 1, self.remote)
        if lost:
            return
        coherence.settle()
        if returned is not None:
            untouched = str(self.local).encode() == coherence.expected("a")
            if coherence.judge("a", returned[0], untouched=untouched) is Verdict.CONFLICT:
                assert meanwhile, "a conflict without a change on both sides"
                return
            self.local = self.remote
            fingerprint = str(self.local).encode()
            coherence.accept({"a": returned[1]}, A, fingerprint, {"a": fingerprint})
        elif not meanwhile:
            assert self.local == self.remote, "left stale, and silently"

    @invariant()
    def agreed_versions_never_run_ahead(self):
        assert self.coherence.version("a") <= self.remote_agreed[0]


TestTwoInterpreters = TwoInterpreters.TestCase
TestTwoInterpreters.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)

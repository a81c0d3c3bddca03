from __future__ import annotations

from perijove.remote_agent.allowances import Allowances

S = 1_000_000_000


def test_a_bind_grants_its_allowance_from_when_it_came() -> None:
    allowances = Allowances()
    allowances.grant("a", 10.0, 100 * S)
    assert allowances.used_up(109 * S) == []
    assert allowances.used_up(110 * S) == ["a"]
    assert allowances.next_end_s(104 * S) == 6.0


def test_a_renewal_counts_from_when_it_was_sent_not_answered() -> None:
    allowances = Allowances()
    allowances.grant("a", 10.0, 0)
    allowances.renewal_sent(frozenset({"a"}), 5 * S)
    assert allowances.renewed({"a": 10.0}) == set()  # whenever that was
    assert allowances.used_up(15 * S - 1) == []
    assert allowances.used_up(15 * S) == ["a"]


def test_a_lease_the_broker_does_not_know_is_named_but_not_one_it_was_not_asked_about() -> None:
    allowances = Allowances()
    allowances.grant("old", 10.0, 0)
    allowances.renewal_sent(frozenset({"old"}), S)
    allowances.grant("new", 10.0, S)
    assert allowances.renewed({}) == {"old"}


def test_answers_match_renewals_in_order_and_a_lost_connection_forgets_them() -> None:
    allowances = Allowances()
    allowances.grant("a", 1.0, 0)
    allowances.renewal_sent(frozenset({"a"}), S)
    allowances.connection_lost()
    assert allowances.renewed({"a": 100.0}) == set()
    assert allowances.used_up(2 * S) == ["a"]


def test_an_allowance_of_nothing_ends_at_once() -> None:
    allowances = Allowances()
    allowances.grant("a", 10.0, 0)
    allowances.renewal_sent(frozenset({"a"}), S)
    allowances.renewed({"a": 0.0})
    assert allowances.used_up(S) == ["a"]


def test_what_was_let_go_is_forgotten() -> None:
    allowances = Allowances()
    allowances.grant("a", 1.0, 0)
    allowances.renewal_sent(frozenset({"a"}), 0)
    allowances.forget("a")
    assert allowances.renewed({}) == set()
    assert allowances.next_end_s(0) is None


def test_a_limit_ends_a_lease_whatever_its_allowance_and_is_told_once() -> None:
    allowances = Allowances()
    allowances.grant("a", 10.0, 0)
    allowances.limit("a", 3 * S)
    assert allowances.next_end_s(S) == 2.0
    assert allowances.take_ended(3 * S - 1) == []
    assert allowances.take_ended(3 * S) == ["a"]
    assert allowances.take_ended(4 * S) == []
    assert allowances.used_up(4 * S) == []
    assert allowances.next_end_s(4 * S) == 6.0


def test_a_limit_can_be_moved_and_lifted() -> None:
    allowances = Allowances()
    allowances.grant("a", 10.0, 0)
    allowances.limit("a", 3 * S)
    allowances.limit("a", 5 * S)
    assert allowances.take_ended(4 * S) == []
    allowances.limit("a", None)
    assert allowances.take_ended(9 * S) == []

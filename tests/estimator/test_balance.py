from __future__ import annotations

import os
import tracemalloc

import pytest

from serenity.estimator import metrics
from serenity.estimator.account.balance import Balance
from serenity.estimator.account.held import Held
from serenity.estimator.account.report import Amount, Report, next_report
from serenity.estimator.account.valve import ActiveLease, LeaseError, Valve
from serenity.estimator.kept.history import History
from serenity.estimator.kept.packed_frame import pack
from serenity.estimator.slack.formula import Slack
from serenity.estimator.slack.pipeline import ReportParameters
from serenity.estimator.ticks import Ticks
from serenity.wire.messages import node
from tests.manual_clock import ManualClock

MIB = 1 << 20
PARAMETERS = ReportParameters(rise_s=5.0, dead_band_cpus=0.1, dead_band_mem_mb=64.0)


def slack(cpus, mem_mb=1000, fresh=True):
    return Slack(cpus, mem_mb * MIB, fresh, at_most_cpus=cpus, at_most_mem_bytes=mem_mb * MIB)


def amount(cpus, mem_mb=1000):
    return Amount(cpus, mem_mb * MIB)


# --- what is told ---


def report(told, estimate, held=Amount(), closed=False, was_closed=False):  # noqa: B008
    return next_report(told, was_closed, estimate, held, closed, PARAMETERS)


def test_the_first_estimate_is_told_and_trifles_are_not():
    assert report(None, slack(2.0)) == Report(amount(2.0))
    assert report(amount(2.0), slack(2.09)) is None
    assert report(amount(2.0), slack(1.91)) is None
    assert report(amount(2.0), slack(2.1)) == Report(amount(2.1))
    assert report(amount(2.0), slack(1.9)) == Report(amount(1.9))
    assert report(amount(2.0), slack(2.0, mem_mb=1063)) is None
    assert report(amount(2.0), slack(2.0, mem_mb=1064)) == Report(amount(2.0, 1064))


def test_cpus_without_memory_are_of_no_use_to_anybody():
    assert report(None, slack(2.0, mem_mb=0)) == Report(Amount())
    assert report(amount(2.0), slack(0.0, mem_mb=1000)) == Report(Amount())


def test_closing_lowers_to_what_is_held_under_a_new_version():
    held = amount(0.5, 100)
    assert report(amount(2.0), slack(2.0), held, closed=True) == Report(held, new_version=True)
    # Even where the total stays: the offers that are out must go.
    assert report(held, slack(0.5, 100), held, closed=True) == Report(held, new_version=True)


def test_a_closed_valve_never_raises_the_total():
    assert report(amount(1.0), slack(1.0), held=amount(3.0, 3000), closed=True) == Report(amount(1.0), new_version=True)


def test_while_closed_every_bit_that_best_effort_gives_back_is_withdrawn():
    assert report(amount(0.5), slack(2.0), amount(0.45), closed=True, was_closed=True) == Report(amount(0.45))
    assert report(amount(0.5), slack(2.0), amount(0.5), closed=True, was_closed=True) is None


def test_opening_gives_the_slack_back():
    assert report(amount(0.5), slack(2.0), amount(0.5), was_closed=True) == Report(amount(2.0))


def test_without_fresh_data_nothing_new_is_given():
    assert report(amount(2.0), slack(3.0, fresh=False), amount(0.5, 100)) == Report(amount(0.5, 100))


# --- what is held ---


def test_a_publish_counts_until_a_state_that_was_asked_for_later():
    held = Held()
    held.looked(1.0, amount(1.0))
    held.published(2.0, amount(1.5))
    assert held.now == amount(1.5)
    held.looked(1.9, amount(1.0))  # Asked before the publish, answered after it.
    assert held.now == amount(1.5)
    held.looked(2.5, amount(1.2))  # A task has ended meanwhile.
    assert held.now == amount(1.2)


def test_less_published_than_seen_does_not_lower():
    held = Held()
    held.looked(1.0, amount(2.0))
    held.published(2.0, amount(0.5))
    assert held.now == amount(2.0)


# --- the valve ---


def test_leases_of_several_holders():
    clock = ManualClock()
    valve = Valve(clock)
    assert valve.hold("executor", "contention", 10.0) is None
    assert valve.hold("operator", "maintenance", 60.0) is None
    clock.advance(8.0)
    assert valve.hold("executor", "contention", 10.0) == ActiveLease("executor", "contention", 10.0, 10.0)
    clock.advance(8.0)
    assert valve.expire() == ()
    clock.advance(2.0)
    assert [each.holder for each in valve.expire()] == ["executor"]
    assert valve.closed
    assert valve.release("operator")
    assert not valve.release("operator")
    assert not valve.closed


def test_a_clock_that_is_set_does_not_end_a_lease():
    clock = ManualClock(1e9)
    valve = Valve(clock)
    valve.hold("a", "", 10.0)
    clock.jump(1e6)
    assert valve.expire() == ()


@pytest.mark.parametrize(("holder", "ttl_s"), [("", 1.0), ("a", 0.0), ("a", -1.0), ("a", 1e9), ("a", float("nan"))])
def test_leases_that_make_no_sense(holder, ttl_s):
    with pytest.raises(LeaseError):
        Valve(ManualClock()).hold(holder, "", ttl_s)


# --- all of it together ---


@pytest.fixture
def told():
    return []


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def balance(told, clock):
    return Balance(PARAMETERS, clock, metrics.table(), told.append)


def test_the_valve_closes_at_once_and_opens_by_itself_in_parts(balance, told, clock):
    balance.estimated(slack(2.0), 0.0, amount(0.5, 100))
    balance.hold("executor", "contention", 5.0)
    assert told == [Report(amount(2.0)), Report(amount(0.5, 100), new_version=True)]
    balance.hold("executor", "contention", 5.0)
    clock.advance(4.0)
    balance.estimated(slack(2.5), 4.0, amount(0.5, 100))
    assert len(told) == 2
    for second in range(5, 15):
        clock.advance(1.0)
        balance.estimated(slack(2.5), float(second), amount(0.5, 100))
    grown = [(each.total.cpus, each.total.mem_bytes // MIB) for each in told[2:]]
    assert grown == [(1.0, 300), (1.5, 500), (2.0, 700), (2.5, 900), (2.5, 1000)]
    balance.hold("operator", "maintenance", 60.0)
    balance.release("operator")
    assert told[7:] == [Report(amount(0.5, 100), new_version=True)]  # And grows again at the next estimates.


def test_where_an_estimator_was_before_the_slack_grows_from_what_is_held(told, clock):
    """It was gone meanwhile, and who waits for it would all come at once, maybe into a contention."""
    balance = Balance(PARAMETERS, clock, metrics.table(), told.append, again=True)
    for second in range(7):
        balance.estimated(slack(2.5), float(second), amount(0.5, 100))
        clock.advance(1.0)
    assert [each.total.cpus for each in told] == [0.5, 1.0, 1.5, 2.0, 2.5, 2.5]


def test_an_agent_that_has_no_total_of_ours_has_no_free_slack(balance):
    balance.estimated(slack(2.0), 0.0, amount(0.5, 100))
    shown = balance.to_json(None)
    assert (shown["cpus"], shown["told"], shown["free"]) == (2.0, None, Amount())


def test_a_launch_on_its_way_when_the_valve_closes_counts_as_held(balance, told):
    balance.estimated(slack(2.0), 0.0, amount(0.5, 100))
    balance.launching(amount(0.75, 200))
    balance.hold("executor", "contention", 5.0)
    assert told[-1] == Report(amount(0.75, 200), new_version=True)


def test_overcommitment_is_what_is_held_beyond_the_slack(balance):
    assert balance.estimated(slack(2.0), 0.0, amount(0.5, 100)) == node.Overcommitment()
    over = balance.estimated(slack(0.25, 300), 1.0, amount(0.5, 100))
    assert over == node.Overcommitment(cpus=0.25, mem_bytes=0)
    # Nobody is accused on data that are not current.
    assert balance.estimated(slack(0.0, 0, fresh=False), 2.0, amount(0.5, 100)) == node.Overcommitment()


def test_a_closed_valve_is_no_overcommitment(balance):
    balance.estimated(slack(2.0), 0.0, amount(0.5, 100))
    balance.hold("executor", "contention", 5.0)
    assert balance.estimated(slack(2.0), 1.0, amount(0.5, 100)) == node.Overcommitment()


def test_what_is_shown(balance):
    balance.estimated(slack(2.0), 0.0, amount(0.5, 100))
    balance.hold("executor", "contention", 5.0)
    shown = balance.to_json(amount(0.5, 100))
    assert (shown["cpus"], shown["told"], shown["held"]) == (2.0, amount(0.5, 100), amount(0.5, 100))
    assert shown["free"] == Amount()
    lease = node.HeldLease(holder="executor", reason="contention", ends_in_s=5.0)
    assert shown["valve"] == {"closed": True, "leases": (lease,)}


# --- times of the samples ---


def test_ticks_do_not_drift():
    clock = ManualClock(1000.0)
    ticks = Ticks(clock, 1.0)
    for number in range(1, 6):
        clock.advance(ticks.wait_s())
        assert clock.monotonic_s() == number
        clock.advance(0.3)  # What the sample costs.
    assert ticks.missed == 0


def test_a_missed_tick_is_counted_and_not_caught_up():
    clock = ManualClock(1000.0)
    ticks = Ticks(clock, 1.0)
    clock.advance(ticks.wait_s())
    clock.advance(3.25)  # The tick at 1 took until 4.25: 2 and 3 are missed, the one of 4 is late.
    assert ticks.wait_s() == 0.0
    assert ticks.missed == 2
    assert ticks.wait_s() == 0.75


def test_frames_do_not_jump_with_the_clock():
    clock = ManualClock(1000.0)
    ticks = Ticks(clock, 1.0)
    clock.advance(2.0)
    clock.jump(3600.0)
    assert ticks.now_s() == 1002.0


# --- the frames that are kept ---


def messages(history):
    found = [node.decode_to_executor(line) for line in history.lines()]
    assert all(isinstance(each, node.History) for each in found)
    return [[frame["t"] for frame in each.frames] for each in found]


def test_history_is_bounded_and_cut_into_lines_that_the_protocol_takes():
    history = History(max_frames=5, max_line_bytes=30)
    assert list(history.lines()) == [b'{"type":"history","frames":[]}\n']
    for number in range(9):
        history.add(pack(b'{"t":%d.0}' % number))
    assert messages(history) == [[4.0, 5.0, 6.0], [7.0, 8.0]]


def test_history_is_bounded_in_bytes_and_keeps_the_last_frame_in_any_case():
    frames = [pack(b'{"t":%d.0,"rest":"%s"}' % (number, os.urandom(500).hex().encode())) for number in range(9)]
    history = History(max_bytes=sum(map(len, frames[-4:])))
    for each in frames:
        history.add(each)
    assert messages(history) == [[5.0, 6.0, 7.0, 8.0]]
    history.add(pack(b'{"t":9.0,"rest":"%s"}' % os.urandom(10_000).hex().encode()))
    assert messages(history) == [[9.0]]
    history.add(pack(b'{"t":10.0}'))
    assert messages(history) == [[10.0]]


def test_an_executor_never_holds_much_of_the_history_decoded():
    history = History()
    for number in range(100):
        history.add(pack(b'{"t":%d.0,"rest":"%s"}' % (number, b"x" * 50_000)))
    lines = list(history.lines())
    assert sum(len(node.decode_to_executor(line).frames) for line in lines) == 100
    assert max(map(len, lines)) < 300_000


def test_history_is_of_the_moment_in_which_it_is_asked_for_and_one_line_is_made_at_a_time():
    """So that samples go on where it ends, and nobody waits for all of it, or has it twice."""
    history, rest = History(max_bytes=1 << 30), b"x" * (1 << 20)
    for number in range(100):
        history.add(pack(b'{"t":%d.0,"rest":"%s"}' % (number, rest)))
    lines = history.lines()
    history.add(pack(b'{"t":100.0}'))
    tracemalloc.start()
    try:
        assert sum(line.count(b'"t":') for line in lines) == 100
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()

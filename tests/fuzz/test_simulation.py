"""The whole of it, simulated, under everything that may happen: no task is lost or doubled, whatever the schedule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import breakages
from tests.fuzz.agents import address_of
from tests.fuzz.examples import examples
from tests.fuzz.kernel import STUBBORN, WORKS
from tests.fuzz.mesos import AGENTS, MASTER
from tests.fuzz.network import Fate
from tests.fuzz.schedules import schedules, schedules_with, sizes
from tests.fuzz.steps import (
    Act,
    Calm,
    CrashFramework,
    Exit,
    Kill,
    NextCall,
    PowerCut,
    RemoveFramework,
    Schedule,
    Slack,
    Step,
    Submit,
    play,
)


@examples(100)
@given(schedules, sizes)
def test_no_task_is_lost_or_doubled(schedule: Schedule, pieces: list[int]) -> None:
    truth = play(schedule, pieces).truth
    assert [*truth.left_over(), *truth.mistakes()] == []


def episode(*steps: Step) -> st.SearchStrategy[Schedule]:
    """A job runs, and then this."""
    return st.just((Submit(WORKS, 1, 0, 0.5), Calm(2), *steps, Calm(1)))


RESCIND = (Slack(0, 1.0), Slack(1, 1.0))
# What brings each breakage to light, so that the ordinary suite need not search for long.
Breakage = Callable[[pytest.MonkeyPatch], None]
LIKELY: dict[Breakage, st.SearchStrategy[Schedule]] = {
    breakages.acknowledges_before_it_commits: episode(),
    breakages.launches_without_having_stored_it: episode(),
    breakages.takes_each_chunk_for_whole_records: episode(),
    breakages.keeps_no_update_for_the_next_subscription: episode(
        *[NextCall(address_of(number), "UPDATE", Fate.LOST) for number in range(AGENTS)], Exit(-1, 0)
    ),
    breakages.charges_for_rescinded_offers: st.integers(3, 15).map(
        lambda actions: (Submit(WORKS, 1, 0, 0.5), Act((0,) * actions), *RESCIND)
    ),
    breakages.believes_every_answer_to_a_reconciliation: episode(Exit(-1, 1), PowerCut()),
    breakages.asks_to_kill_only_once: episode(NextCall(MASTER, "KILL", Fate.LOST), Kill(-1)),
    breakages.ends_what_it_is_not_sure_of: episode(CrashFramework(lost=True, stays_down=False)),
    breakages.starts_at_once_what_mesos_may_still_be_ending: st.just(
        (Submit(STUBBORN, 1, 0, 0.5), Calm(2), RemoveFramework())
    ),
}


@pytest.mark.parametrize("breakage", LIKELY, ids=lambda breakage: breakage.__name__)
def test_the_fuzzer_notices_what_is_broken(breakage: Breakage, monkeypatch: pytest.MonkeyPatch) -> None:
    breakage(monkeypatch)
    search = settings(
        examples(1000, fuzzing=1000), derandomize=True, phases=[Phase.generate], report_multiple_bugs=False
    )

    @search
    @given(schedules_with(LIKELY[breakage]), sizes)
    def simulation(schedule: Schedule, pieces: list[int]) -> None:
        play(schedule, pieces)

    with pytest.raises(AssertionError):
        simulation()

"""The state machine: its transitions one by one, then whole lives that hypothesis makes up."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from serenity.framework.jobs.job import (
    ENDED,
    CutOff,
    Ended,
    Ending,
    ImpossibleTransition,
    Job,
    KillAsked,
    Launch,
    Place,
    Seen,
    backoff_s,
    first_attempt,
    job_state,
    step,
)
from serenity.wire.messages.api import AttemptState, JobRequest, JobState
from serenity.wire.messages.reasons import Payer, Reason

S = AttemptState
PLACE = Place("S0", "h7", "http://h7:5051", "serenity-1")
EVICTED = Ending(S.KILLED, Reason.QOS_CPU, avoid_s=300.0)
FAILED = Ending(S.FAILED, Reason.COMMAND_FAILED, "exited with 1")


def job(max_retries=3, killed=False, **more):
    request = JobRequest(command=("true",), max_retries=max_retries, **more)
    return Job("j", "name", request, submitted_at=0.0, kill_requested_at=5.0 if killed else None)


def running(of=None):
    attempt = first_attempt(of or job(), 0)
    for event in (Launch(PLACE), Seen(S.RUNNING, "c1")):
        attempt = step(job(), attempt, event, now_s=1.0).attempt
    return attempt


def test_the_way_of_a_task_that_does_well():
    attempt = running()
    assert (attempt.state, attempt.place, attempt.container_id) == (S.RUNNING, PLACE, "c1")
    done = step(job(), attempt, Ended(Ending(S.FINISHED)), now_s=9.0)
    assert (done.attempt.state, done.attempt.ended_at, done.successor, done.kill) == (S.FINISHED, 9.0, None, False)
    assert not done.attempt.killed


def test_an_eviction_is_free_and_the_successor_waits():
    done = step(job(max_retries=0), running(), Ended(EVICTED), now_s=100.0)
    assert done.attempt.killed and done.attempt.retry.charged is False
    assert (done.successor.number, done.successor.charged_before, done.successor.free_before) == (2, 0, 1)
    assert 100.0 + 0.75 * 15 <= done.successor.not_before <= 115.0
    assert done.attempt.retry.avoid == ("h7",)


def test_a_failure_is_charged_until_the_budget_is_spent():
    attempt = running()
    for number in (1, 2, 3):
        done = step(job(max_retries=3), attempt, Ended(FAILED), now_s=1.0)
        assert done.successor.charged_before == number
        attempt = replace(running(), number=done.successor.number, charged_before=done.successor.charged_before)
    done = step(job(max_retries=3), attempt, Ended(FAILED), now_s=1.0)
    assert done.successor is None and done.attempt.retry.attempt is None and done.attempt.retry.charged


@pytest.mark.parametrize("state", [S.LAUNCHING, S.RUNNING, S.KILLING, S.UNREACHABLE])
def test_a_kill_is_asked_of_mesos_wherever_a_task_may_live(state):
    done = step(job(killed=True), replace(running(), state=state), KillAsked(), now_s=1.0)
    assert done.kill
    assert done.attempt.state is (S.UNREACHABLE if state is S.UNREACHABLE else S.KILLING)


def test_a_pending_attempt_is_killed_without_mesos():
    done = step(job(killed=True), first_attempt(job(), 0), KillAsked(), now_s=1.0)
    assert (done.attempt.state, done.kill, done.successor) == (S.KILLED, False, None)


def test_a_job_to_be_killed_is_not_retried_whatever_ends_its_attempt():
    for ending in (EVICTED, FAILED, Ending(S.LOST, Reason.EXECUTOR_LOST)):
        done = step(job(killed=True), running(), Ended(ending), now_s=1.0)
        assert (done.attempt.state, done.successor) == (S.KILLED, None)
        assert done.attempt.retry.avoid == ()
        assert done.attempt.ending.reason is Reason.KILLED_BY_USER and not done.attempt.killed, "it was asked for"


def test_a_task_that_comes_back_from_an_unreachable_agent_is_killed_if_its_job_was():
    away = replace(running(), state=S.UNREACHABLE)
    back = step(job(killed=True), away, Seen(S.RUNNING), now_s=1.0)
    assert (back.attempt.state, back.kill) == (S.KILLING, True)
    assert step(job(), away, Seen(S.RUNNING), now_s=1.0).attempt.state is S.RUNNING


@pytest.mark.parametrize("seen", [S.RUNNING, S.KILLING])
def test_a_task_that_lives_on_after_it_was_given_up_is_killed(seen):
    lost = step(job(), running(), Ended(Ending(S.LOST, Reason.LOST)), now_s=1.0).attempt
    done = step(job(), lost, Seen(seen), now_s=2.0)
    assert done.kill and done.attempt == lost and done.successor is None


def test_what_is_cut_off_is_waited_for_unless_its_job_says_otherwise():
    away = step(job(), running(), Seen(S.UNREACHABLE), now_s=5.0).attempt
    assert away.unreachable_at == 5.0
    assert step(job(), away, Seen(S.UNREACHABLE), now_s=9.0).attempt == away, "since when does not move"
    assert step(job(), away, Seen(S.RUNNING), now_s=9.0).attempt.unreachable_at is None
    rerun = job(rerun_unreachable_after_s=600.0)
    done = step(rerun, away, CutOff(), now_s=605.0)
    assert (done.attempt.state, done.attempt.ending.reason, done.attempt.retry.charged) == (
        S.LOST,
        Reason.AGENT_LOST,
        False,
    )
    assert done.attempt.ending.message == "unreachable for 10m00s, and given up as asked; it may still run there"
    assert done.successor.number == 2
    back = step(rerun, done.attempt, Seen(S.RUNNING), now_s=700.0)
    assert back.kill and back.successor is None, "it runs elsewhere by now"
    for state in (S.RUNNING, S.KILLING):
        assert step(rerun, replace(running(), state=state), CutOff(), now_s=605.0).attempt.state is state


def test_a_job_that_was_killed_and_is_cut_off_ends_when_it_is_given_up():
    away = replace(running(), state=S.UNREACHABLE)
    done = step(job(killed=True, rerun_unreachable_after_s=1.0), away, CutOff(), now_s=9.0)
    assert (done.attempt.state, done.successor) == (S.KILLED, None)


def test_free_retries_have_a_cap_of_their_own_where_the_job_says_so():
    capped = job(max_free_retries=1)
    first = step(capped, running(), Ended(EVICTED), now_s=1.0)
    assert first.successor.free_before == 1
    second = replace(running(), number=2, free_before=1)
    done = step(capped, second, Ended(EVICTED), now_s=1.0)
    assert done.successor is None and not done.attempt.retry.charged
    assert step(capped, second, Ended(FAILED), now_s=1.0).successor is not None, "its own failures count apart"


def test_an_end_that_is_told_twice_is_no_news():
    ended = step(job(), running(), Ended(EVICTED), now_s=1.0).attempt
    again = step(job(), ended, Ended(Ending(S.LOST, Reason.LOST)), now_s=2.0)
    assert again.attempt == ended and again.successor is None


def test_an_impossible_transition_tells_the_story():
    with pytest.raises(ImpossibleTransition, match=r"j\.0\.1 is running .* Before: pending → launching at 1"):
        step(job(), running(), Launch(PLACE), now_s=2.0)
    with pytest.raises(ImpossibleTransition, match="nothing has happened"):
        step(job(), first_attempt(job(), 0), Seen(S.RUNNING), now_s=2.0)


def test_a_failure_that_nobody_explains_is_the_jobs_own_and_a_kill_nobody_explains_is_not():
    assert step(job(), running(), Ended(Ending(S.FAILED)), 1.0).attempt.retry.charged
    killed = step(job(), running(), Ended(Ending(S.KILLED)), 1.0).attempt
    assert killed.killed and not killed.retry.charged


@given(st.integers(0, 60), st.sampled_from([None, *Reason]), st.booleans())
def test_backoff_grows_and_is_bounded(before, reason, charged):
    attempt = replace(first_attempt(job(), 0), charged_before=before, free_before=before)
    more = replace(attempt, charged_before=before + 1, free_before=before + 1)
    assert 0.75 <= backoff_s(attempt, reason, charged, 0.0) <= backoff_s(more, reason, charged, 0.0) <= 300.0


def test_backoff_starts_again_after_an_attempt_that_ran_steadily():
    often = replace(running(), free_before=9)
    assert backoff_s(often, Reason.QOS_CPU, charged=False, now_s=500.0) > 200.0
    assert backoff_s(often, Reason.QOS_CPU, charged=False, now_s=601.0) <= 15.0


@pytest.mark.parametrize(
    ("counts", "killed", "expected"),
    [
        ({S.PENDING: 2}, False, JobState.PENDING),
        ({S.PENDING: 1, S.FINISHED: 1}, False, JobState.PENDING),
        ({S.RUNNING: 1, S.PENDING: 1}, False, JobState.RUNNING),
        ({S.UNREACHABLE: 1}, False, JobState.RUNNING),
        ({S.RUNNING: 1}, True, JobState.KILLING),
        ({S.FINISHED: 2}, False, JobState.FINISHED),
        ({S.FINISHED: 1, S.FAILED: 1}, False, JobState.FAILED),
        ({S.KILLED: 1, S.FINISHED: 1}, True, JobState.KILLED),
        ({S.FINISHED: 2}, True, JobState.FINISHED),
    ],
)
def test_the_jobs_state_follows_from_its_attempts(counts, killed, expected):
    assert job_state(job(killed=killed), counts) is expected


# -- whole lives ---------------------------------------------------------------------------

ENDINGS = [Ending(S.FINISHED), FAILED, EVICTED, Ending(S.LOST, Reason.LOST), Ending(S.KILLED), Ending(S.FAILED)]
EVENTS = st.one_of(
    st.just(Launch(PLACE)),
    st.sampled_from([S.RUNNING, S.KILLING, S.UNREACHABLE]).map(Seen),
    st.sampled_from(ENDINGS).map(Ended),
    st.just(KillAsked()),
    st.just(CutOff()),
)


@given(st.lists(EVENTS, max_size=60), st.integers(0, 4), st.none() | st.integers(0, 3))
def test_no_life_has_two_attempts_alive_or_more_retries_than_its_budgets(events, max_retries, max_free_retries):
    of = job(max_retries, max_free_retries=max_free_retries)
    attempts = [first_attempt(of, 0)]
    for now_s, event in enumerate(events):
        if isinstance(event, KillAsked):
            of = replace(of, kill_requested_at=float(now_s))
        current = attempts[-1]
        try:
            done = step(of, current, event, float(now_s))
        except ImpossibleTransition:
            # Only what Mesos cannot say: of a task not yet launched, or a launch that placement never makes.
            assert current.state is S.PENDING or isinstance(event, Launch)
            continue
        assert not (current.state in ENDED and done.attempt != current), "an ended attempt stays as it is"
        attempts[-1] = done.attempt
        if done.successor is not None:
            assert done.attempt.ended and current.alive and not of.kill_requested
            assert done.successor.number == current.number + 1
            attempts.append(done.successor)
    assert all(each.ended for each in attempts[:-1])
    charged = Counter(each.retry.charged for each in attempts if each.retry is not None)
    assert charged[True] <= max_retries + 1
    assert max_free_retries is None or of.kill_requested or charged[False] <= max_free_retries + 1
    assert attempts[-1].charged_before + attempts[-1].free_before == len(attempts) - 1
    for each in attempts:
        if each.ending and each.ending.reason and each.ending.reason.payer is Payer.NOBODY:
            assert not each.retry.charged

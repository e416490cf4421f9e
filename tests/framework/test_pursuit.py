"""What Mesos is asked again and again, ever more rarely, until it has answered."""

from __future__ import annotations

from itertools import pairwise

import pytest

from serenity.framework.mesos.calls import Kill, Reconcile
from tests.framework.life import Life


@pytest.fixture
def life(tmp_path):
    return Life(tmp_path)


def called_at(life, wanted, for_s):
    """The seconds from now at which a call was made that `wanted` wants."""
    at = []
    for second in range(1, for_s + 1):
        life.clock.advance(1.0)
        life.round()
        at += [second for each in life.calls if wanted(each)]
    return at


def grow(times):
    pauses = [later - earlier for earlier, later in pairwise(times)]
    return len(times) > 3 and pauses == sorted(pauses) and pauses[-1] >= 4 * pauses[0]


def test_everything_is_asked_for_on_a_schedule(life):
    life.subscribe()
    assert called_at(life, lambda call: call == Reconcile(), for_s=1900) == [600, 1200, 1800]


def test_a_launch_without_news_is_asked_for_with_growing_pauses_until_there_is_some(life):
    life.subscribe()
    task = life.launch()

    def about_it(call):
        return call == Reconcile(((task, "S0"),))

    assert grow(called_at(life, about_it, for_s=590))
    life.reconciled(task, "TASK_STAGING")
    assert called_at(life, about_it, for_s=5) == []


def test_a_kill_is_repeated_with_growing_pauses_until_the_task_has_ended(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.core.kill(task.split(".")[0])
    life.round()

    def of_it(call):
        return isinstance(call, Kill) and call.task_id == task

    assert grow(called_at(life, of_it, for_s=590))
    life.update(task, "TASK_KILLED", uuid="u2")
    assert called_at(life, of_it, for_s=700) == []


@pytest.mark.parametrize(
    ("state", "then"),
    [
        ("TASK_UNREACHABLE", "unreachable"),
        ("TASK_GONE", "lost"),
        ("TASK_GONE_BY_OPERATOR", "lost"),
        ("TASK_LOST", "lost"),
    ],
)
def test_what_a_partition_aware_framework_is_told_of_an_agent_that_is_away(life, state, then):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.update(task, state, uuid="u2", source="SOURCE_MASTER")
    attempts = life.store.attempts(task.split(".")[0])
    assert attempts[0].state == then
    assert len(attempts) == (1 if then == "unreachable" else 2), "a task that may come back is not run again"
    assert then == "unreachable" or not attempts[0].retry.charged

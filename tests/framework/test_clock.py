"""A machine whose clock was a day ahead, and is set right: what waits for a time does not wait for a day more."""

from __future__ import annotations

import pytest

from serenity.framework.mesos.calls import Accept
from serenity.framework.placement.holds import Hold
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.corrections import Correction
from tests.framework.life import Life, labelled

DAY_S = 86_400.0
LONGEST_COOLDOWN_S = 600.0


@pytest.fixture(params=[False, True], ids=["while it runs", "while it does not"])
def life(request, tmp_path):
    """`set_right` sets its clock right."""
    made = Life(tmp_path)
    made.subscribe()

    def set_right():
        made.clock.jump(-DAY_S)
        if request.param:
            made.restart()
            made.subscribe()

    made.set_right = set_right
    yield made
    made.store.close()


def launched_within(life, within_s):
    for _ in range(round(within_s / 5.0)):
        life.clock.advance(5.0)
        life.offer()
        life.round()
        if life.of_kind(Accept):
            return True
    return False


@pytest.mark.parametrize(("reason", "within_s"), [("COMMAND_FAILED", 10.0), ("QOS_CPU", LONGEST_COOLDOWN_S + 10.0)])
def test_a_retry(life, reason, within_s):
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.update(task, "TASK_FAILED", "u2", **labelled(reason))
    life.set_right()
    assert launched_within(life, within_s)
    life.restart()  # What is stored is of the right time as well.
    assert all(each.created_at <= life.clock.now_s() for each in life.store.load().attempts)


def test_a_job_that_flaps(life):
    task = life.launch(max_retries=100)
    for number in range(1, 13):
        life.update(f"{task[:-1]}{number}", "TASK_FAILED", f"u{number}", **labelled("COMMAND_FAILED"))
        if number < 12:
            assert launched_within(life, 400.0)
    life.set_right()
    assert launched_within(life, 400.0)


def test_an_agent_that_is_held(life):
    life.core.hold(Hold("S0", "host-S0", "disk", life.clock.now_s(), life.clock.now_s() + 60.0))
    life.round()
    life.set_right()
    life.submit()
    life.offer()
    life.round()
    assert not life.of_kind(Accept)
    assert launched_within(life, 70.0)


def test_an_agent_that_is_cut_off_is_given_up_when_it_has_been_for_long_enough_by_the_new_time(life):
    task = life.launch(rerun_unreachable_after_s=600.0)
    life.update(task, "TASK_UNREACHABLE")
    life.set_right()
    life.round()
    life.clock.advance(590.0)
    life.round()
    assert life.core._book.find(task).state is AttemptState.UNREACHABLE
    life.clock.advance(15.0)
    life.round()
    assert launched_within(life, 120.0)


def test_a_hint_at_a_noisy_neighbour(life):
    hint = Correction(
        at=life.clock.now_s(), action="hint", task="c9", outcome="suspected first", protected="web", severity=1.0
    )
    life.offer()
    life.round()
    life.core.message("S0", "e1", hint.encode())
    life.round()
    life.set_right()
    life.submit()
    assert launched_within(life, 10.0)

"""An operator's word that nothing new goes onto an agent."""

from __future__ import annotations

import pytest

from serenity.framework.mesos import nodes
from serenity.framework.mesos.calls import Accept, Decline, Revive
from serenity.framework.mesos.nodes import UnknownNode
from serenity.framework.placement.holds import Hold
from tests.framework.test_core import Life


@pytest.fixture
def life(tmp_path):
    made = Life(tmp_path)
    made.subscribe()
    return made


def hold(life, agent="S0", for_s=600.0):
    now_s = life.clock.now_s()
    life.core.hold(Hold(agent, f"host-{agent}", "new disk", now_s, now_s + for_s))


def launched_on(life):
    """The agents of this round's launches."""
    return [each.tasks[0]["agent_id"]["value"] for each in life.of_kind(Accept)]


def test_nothing_new_goes_to_an_agent_that_is_held_and_all_else_goes_on(life):
    running = life.launch()
    hold(life)
    life.submit()
    life.offer("S0")
    life.offer("S1", cpus=1.0)
    life.round()
    assert launched_on(life) == ["S1"]
    assert ("O-S0",) in [each.offer_ids for each in life.of_kind(Decline)]
    life.update(running, "TASK_RUNNING")
    assert life.job(running).counts == {"running": 1}


@pytest.mark.parametrize("restarts", [False, True])
def test_a_hold_outlasts_the_framework_is_told_and_runs_out_by_itself(life, restarts):
    hold(life)
    job = life.submit()
    if restarts:
        life.restart()
        life.subscribe()
    life.clock.advance(60.0)
    life.offer()
    life.round()
    assert launched_on(life) == []
    assert "host-S0 gets nothing new for another 9m00s, on an operator's word (new disk)" in life.core.why(job)
    life.clock.advance(540.0)
    life.round()
    assert life.of_kind(Revive)  # What was declined for long is wanted now.
    assert life.core.holds == {} and life.store.load().holds == ()
    life.offer()
    life.round()
    assert launched_on(life) == ["S0"]


def test_a_release_ends_it_at_once_and_for_good(life):
    hold(life)
    life.submit()
    life.offer()
    life.round()
    assert life.core.release("S0") and not life.core.release("S1")
    life.round()
    assert life.of_kind(Revive) and life.store.load().holds == ()
    life.offer()
    life.round()
    assert launched_on(life) == ["S0"]


def test_the_last_word_counts(life):
    hold(life, for_s=600.0)
    hold(life, for_s=5.0)
    life.round()
    assert [each.until - life.clock.now_s() for each in life.store.load().holds] == [5.0]
    life.core.release("S0")
    hold(life, for_s=60.0)
    life.clock.advance(30.0)
    life.round()
    assert set(life.core.holds) == {"S0"}


def test_an_agent_is_named_by_its_id_or_by_a_hostname_of_one():
    agents = [{"id": f"S{number}", "hostname": host} for number, host in enumerate(("h1", "h2", "h2"))]
    known = nodes.nodes(agents, {}, {"S1": Hold("S1", "h2", "disk", 1.0, 2.0)}, {})
    assert nodes.find(known, "h1").id == "S0"
    assert nodes.find(known, "S1").hold.reason == "disk" and nodes.find(known, "S2").hold is None
    with pytest.raises(UnknownNode, match="2 agents are on h2; say which by its id: S1, S2"):
        nodes.find(known, "h2")
    with pytest.raises(UnknownNode, match="`serenity nodes` lists"):
        nodes.find(known, "h9")

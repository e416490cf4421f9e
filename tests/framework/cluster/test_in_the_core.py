"""Who has hurt production is kept off it, wherever it lives, for as long as that is remembered."""

from __future__ import annotations

import base64

import pytest

from serenity.framework.cluster.antagonists import REMEMBERED_S
from serenity.framework.mesos.calls import Accept, Tell
from serenity.wire.messages.corrections import Outcome
from serenity.wire.messages.kill_record import Agent, Killed, KillRecord, Protected, Step, TaskResources
from serenity.wire.messages.statistics import Cpi, JobStatistics, Slo, Statistics, decode_known_jobs
from tests.framework.life import Life
from tests.framework.stored import filled_changes


@pytest.fixture
def life(tmp_path):
    return Life(tmp_path)


def statistics(*jobs, samples=40.0, slo=None):
    """An executor's word on who is in production on its agent."""
    cpi = Cpi(samples=samples, mean=1.0, variance=0.01)
    told = tuple(
        JobStatistics(role="production", framework="F", job=each, containers=1, cpus=1.0, cpi=cpi, slo=slo)
        for each in jobs
    )
    return Statistics(at=0.0, seconds=60.0, cpu_type="a CPU", jobs=told).encode()


def evict(life, task, outcome):
    record = KillRecord(
        id="k1",
        decided_at=1.0,
        agent=Agent(id="S0", hostname="h7"),
        killed=Killed(
            task=task, job="j", attempt=1, ran_for_s=1.0, resources=TaskResources(cpus=0.5, mem_bytes=1 << 20)
        ),
        reason="QOS_CACHE",
        cause="llc",
        protected=Protected(framework="F", executor="e", container="c", task="web.1", job="web"),
        ladder=(Step(action="evict", at=1.0, outcome="ended on SIGTERM"),),
    )
    life.update(task, "TASK_RUNNING", uuid="u1")
    data = base64.b64encode(record.encode()).decode()
    life.update(task, "TASK_KILLED", uuid="u2", source="SOURCE_EXECUTOR", data=data)
    life.core.message("S0", "e1", Outcome(at=2.0, task=task, action="evict", outcome=outcome, record="k1").encode())
    life.round()


def placed_on(life, job, *agents):
    """On which of the agents, all of which offer, the job's instance goes."""
    for agent in agents:
        life.offer(agent)
    life.round()
    accepted = [task for call in life.of_kind(Accept) for task in call.tasks]
    return [task["agent_id"]["value"] for task in accepted if task["task_id"]["value"].startswith(job)]


def test_a_confirmed_antagonist_goes_where_nobody_lives_whom_it_has_hurt(life):
    life.subscribe()
    evict(life, life.launch(name="crunch"), "recovered after 2.0 s")
    life.restart()  # It is remembered.
    life.subscribe()
    life.core.message("S1", "e1", statistics("web"))
    life.core.message("S2", "e1", statistics("mail"))
    again, other = life.submit(name="crunch"), life.submit(name="harmless")
    assert placed_on(life, again, "S1") == []
    (line,) = [each for each in life.core.why(again) if "lives there" in each]
    assert line.startswith("host-S1 is avoided: web lives there, which it hurt (llc; ")
    assert not [each for each in life.core.why(other) if "lives there" in each]
    assert placed_on(life, again, "S1", "S2") == ["S2"]


def test_an_eviction_that_did_not_help_proves_nothing(life):
    life.subscribe()
    evict(life, life.launch(name="crunch"), "no recovery in 3.0 s")
    life.core.message("S1", "e1", statistics("web"))
    assert placed_on(life, life.submit(name="crunch"), "S1") == ["S1"]


def test_it_is_forgotten_in_the_store_too(life):
    life.subscribe()
    evict(life, life.launch(name="crunch"), "recovered after 2.0 s")
    life.clock.advance(REMEMBERED_S)
    life.round()
    assert life.store.load().antagonists == ()


def test_an_executor_is_answered_with_what_the_cluster_knows_of_its_jobs(life):
    life.subscribe()
    life.core.message("S1", "e1", statistics("web", samples=20.0))
    life.round()
    assert life.of_kind(Tell) == []
    life.core.message("S2", "e2", statistics("web", samples=20.0))
    life.round()
    (tell,) = life.of_kind(Tell)
    assert (tell.agent_id, tell.executor_id) == ("S2", "e2")
    assert decode_known_jobs(tell.data).jobs["web"].samples == 40.0


def test_statistics_outlive_a_restart_but_for_some_minutes(life):
    slo = Slo(indicator="p99", unit="ms", better="lower", now=30.0, measured_s=60.0, objective=20.0, met_s=15.0)
    life.round()
    for minute in range(10):
        life.core.message("S1", "e1", statistics("web", "bad\0name", samples=10.0, slo=slo))
        assert bool(life.round().changes.job_cpi) == (minute == 5), "they are written every few minutes"
        life.clock.advance(60.0)
    life.restart()
    (web,) = life.core.heard.cluster.services(life.clock.now_s())
    assert (web.service, web.met_last_hour) == ("web", 0.25)
    assert sum(each.measured_s for each in web.history) == 360.0
    life.subscribe()
    life.core.message("S2", "e2", statistics("web", samples=1.0))
    life.round()
    (tell,) = life.of_kind(Tell)
    assert 60.0 < decode_known_jobs(tell.data).jobs["web"].samples < 61.0


def test_old_statistics_go_from_the_store(life):
    life.store.commit(filled_changes(life.store))
    life.restart()
    life.round()
    life.core.message("S1", "e1", statistics("mail"))
    life.clock.advance(600.0)
    life.round()
    kept = life.store.load()
    assert [each.job for each in kept.job_cpi] == ["mail"] and kept.slo_periods == ()

"""What executors tell, and what the framework makes of it."""

from __future__ import annotations

import pytest

from serenity.executor.guarding.evictions import Pending
from serenity.framework.cluster.cluster import Cluster
from serenity.wire.messages.corrections import Correction
from serenity.wire.messages.kill_record import Agent, Killed, KillRecord, Protected, Step, TaskResources
from serenity.wire.messages.slo import SloReport
from serenity.wire.messages.statistics import Cpi, JobStatistics, Slo, Statistics

SLO = Slo(indicator="p99", unit="ms", better="lower", now=30.0, measured_s=60.0, objective=20.0, met_s=15.0)
WEB = JobStatistics(
    role="production",
    framework="F",
    job="web",
    containers=40,
    cpus=1.0,
    cpi=Cpi(samples=40.0, mean=1.0, variance=0.01),
    slo=SLO,
)
SAID = Statistics(at=0.0, seconds=60.0, cpu_type="a CPU", jobs=(WEB,))


def record(**changes):
    fields = {
        "id": "k1",
        "decided_at": 0.0,
        "agent": Agent(id="a1", hostname="h1"),
        "killed": Killed(
            task="j.0.1", job="crunch", attempt=1, ran_for_s=9.0, resources=TaskResources(cpus=1.0, mem_bytes=1)
        ),
        "reason": "QOS_CACHE",
        "cause": "llc",
        "protected": Protected(framework="F", executor="e", container="c", task="web.1", job="web"),
        "ladder": (Step(action="evict", at=0.0, outcome=""),),
    }
    return KillRecord(**{**fields, **changes})


def test_who_was_evicted_rightly_is_kept_off_agents_where_the_hurt_live():
    cluster = Cluster()
    cluster.told("a9", "e", SAID, -700.0)
    cluster.evicted(record(), "ann", "crunch", 0.0)
    assert cluster.apart("ann", "crunch", 1.0) == {}, "nobody knows yet whether it has helped"
    confirmed = cluster.concluded("k1", "recovered after 2.0 s", 5.0)
    assert confirmed is not None and confirmed.cause == "llc"
    assert cluster.apart("ann", "crunch", 6.0) == {"a1": confirmed}
    assert cluster.apart("ann", "another", 6.0) == {}
    assert cluster.concluded("k1", "recovered after 2.0 s", 6.0) is None, "it is told several times, and counts once"
    cluster.agent_gone("a1")
    assert cluster.apart("ann", "crunch", 6.0) == {}


def test_what_an_executor_says_of_an_eviction_confirms_or_does_not():
    for conclude, confirmed in ((Pending.helped, True), (Pending.in_vain, False)):
        cluster, pending = Cluster(), Pending()
        cluster.evicted(record(), "ann", "crunch", 0.0)
        pending.note("j.0.1", 0.0, 0.0)
        (concluded,) = conclude(pending, 2.0)
        assert (cluster.concluded("k1", concluded.step.outcome, 5.0) is not None) is confirmed


def test_an_antagonist_of_what_no_store_can_name_is_none():
    cluster = Cluster()
    protected = Protected(framework="F", executor="e", container="c", task="web.1", job="é" * 1300)
    cluster.evicted(record(protected=protected), "ann", "crunch", 0.0)
    assert cluster.concluded("k1", "recovered after 2.0 s", 5.0) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "no recovery in 3.0 s"},
        {"protected": None, "outcome": "recovered after 1.0 s"},
        {"reason": "COMMAND_FAILED", "outcome": "recovered after 1.0 s"},
    ],
)
def test_nobody_is_confirmed_by_what_proves_nothing(changes):
    cluster = Cluster()
    assert cluster.evicted(record(**changes), "ann", "crunch", 0.0) is None
    assert not list(cluster.antagonists)


def test_an_outcome_may_stand_in_the_record_already():
    confirmed = Cluster().evicted(record(outcome="recovered after 0.5 s"), "ann", "crunch", 3.0)
    assert confirmed is not None and (confirmed.protected, confirmed.at) == ("web", 3.0)


def test_an_executor_is_told_what_the_cluster_knows():
    known = Cluster().told("a1", "e", SAID, 0.0)
    assert known is not None and known.jobs["web"].samples == 40.0


def test_the_status_of_services():
    cluster = Cluster()
    cluster.told("a1", "e", SAID, 600.0)
    throttle = Correction(
        at=0.0, action="throttle", task="t", outcome="", protected="web.1", protected_framework="F", protected_job="web"
    )
    cluster.corrected(throttle, 610.0)
    cluster.corrected(Correction(at=0.0, action="release", task="t", outcome="", protected_job="web"), 610.0)
    mine = SloReport(service="mail", indicator="sent", better="higher", value=5.0, objective=4.0)
    assert cluster.reported("ann", mine, 620.0).met_last_hour == 1.0
    web, mail = cluster.services(620.0)
    assert (web.framework, web.service, web.now, web.met_last_hour) == ("F", "web", 30.0, 0.25)
    assert (web.corrected_last_hour, [each.start for each in web.history]) == (1, [600.0])
    assert (mail.framework, mail.now, mail.met_last_day, mail.corrected_last_day) == ("ann", 5.0, 1.0, 0)

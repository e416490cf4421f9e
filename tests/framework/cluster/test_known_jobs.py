"""Mean and deviation of every job's CPI, as all agents together have seen them."""

from __future__ import annotations

import numpy as np
import pytest

from serenity.framework.cluster.known_jobs import HALF_LIFE_S, JobsOfCluster
from serenity.wire.messages.statistics import Cpi, JobStatistics, Statistics


def said(*cpis, job="web", cpu_type="a CPU", role="production"):
    cpi = Cpi(samples=float(len(cpis)), mean=float(np.mean(cpis)), variance=float(np.var(cpis)))
    of_job = JobStatistics(role=role, framework="F", job=job, containers=len(cpis), cpus=1.0, cpi=cpi)
    return Statistics(at=0.0, seconds=60.0, cpu_type=cpu_type, jobs=(of_job,))


def test_parts_together_are_as_the_whole():
    samples = np.random.default_rng(3).lognormal(0.3, 0.2, 400)
    known = JobsOfCluster()
    for part in np.array_split(samples, 37):
        known.learn(said(*part), 0.0)
    whole = known.of("a CPU", "web", 0.0)
    assert whole is not None
    assert (whole.samples, whole.mean, whole.variance) == pytest.approx((400, samples.mean(), samples.var()))


def test_what_is_old_counts_half_after_a_day():
    known = JobsOfCluster()
    known.learn(said(*[1.0] * 100), 0.0)
    known.learn(said(*[2.0] * 50), HALF_LIFE_S)
    now = known.of("a CPU", "web", HALF_LIFE_S)
    assert now is not None and (now.samples, now.mean) == (100.0, 1.5)
    set_back = known.of("a CPU", "web", 0.0)
    assert set_back is not None and set_back.samples == 100.0


def test_types_of_cpu_and_roles_are_kept_apart_and_few_samples_say_nothing():
    known = JobsOfCluster()
    known.learn(said(*[1.0] * 40), 0.0)
    known.learn(said(*[3.0] * 40, cpu_type="another"), 0.0)
    known.learn(said(*[9.0] * 40, role="best_effort"), 0.0)
    known.learn(said(*[1.0] * 29, job="rare"), 0.0)
    here, there = known.of("a CPU", "web", 0.0), known.of("another", "web", 0.0)
    assert here is not None and there is not None and (here.mean, there.mean) == (1.0, 3.0)
    assert known.of("a CPU", "rare", 0.0) is None and known.of("a CPU", "nobody", 0.0) is None


def test_what_was_kept_goes_on_where_it_was():
    first = JobsOfCluster()
    first.learn(said(*[1.0] * 100), 0.0)
    kept = first.changed(10)
    again = JobsOfCluster(kept)
    assert again.of("a CPU", "web", HALF_LIFE_S) == first.of("a CPU", "web", HALF_LIFE_S)
    assert again.changed(10) == [], "only what is told anew is to be kept anew"


def test_what_has_changed_is_handed_out_in_parts_and_once():
    known = JobsOfCluster()
    for job in ("web", "db", "mail"):
        known.learn(said(1.0, job=job), 0.0)
    parts = [[each.job for each in known.changed(2)] for _ in range(3)]
    assert parts == [["web", "db"], ["mail"], []]
    known.learn(said(1.0, job="db"), 60.0)
    assert [(each.job, each.samples > 1.9) for each in known.changed(2)] == [("db", True)]


def test_numbers_beyond_all_bounds_are_forgotten():
    known = JobsOfCluster()
    known.learn(said(*[1.0] * 40), 0.0)
    known.learn(said(1e308), 0.0)
    assert known.of("a CPU", "web", 0.0) is None and known.changed(9) == []
    known.learn(said(*[1.0] * 40), 0.0)
    assert known.of("a CPU", "web", 0.0) is not None


def test_who_tells_is_told_now_and_then():
    known = JobsOfCluster()
    known.learn(said(*[1.0] * 40), 0.0)
    told = known.for_listener("executor 1", said(1.0), 0.0)
    assert told is not None and told.cpu_type == "a CPU" and told.jobs["web"].mean == 1.0
    assert known.for_listener("executor 1", said(1.0), 500.0) is None
    assert known.for_listener("executor 2", said(1.0), 500.0) is not None
    assert known.for_listener("executor 1", said(1.0), 601.0) is not None
    assert known.for_listener("executor 3", said(1.0, job="new"), 0.0) is None, "nothing is known of it"

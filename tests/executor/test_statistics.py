"""What an executor tells of the jobs on its agent, minute by minute."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serenity.executor.statistics import JobsOnAgent
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Indicator
from serenity.wire.messages import from_executor
from serenity.wire.messages.statistics import MOST_JOBS, Cpi, Slo

LATENCY = Indicator("p99", "ms", "lower", objective=20.0)
WEB1, WEB2 = (Container(name, PRODUCTION, "web", 2.0, 1e9, "F1", indicator=LATENCY) for name in ("w1", "w2"))
CRUNCH = Container("t1", BEST_EFFORT, "crunch", 1.0, 1e8, "F2")


def frames(rows, columns, seconds=61, start=1000.0):
    """`columns`: a value a row, or a function of the second that gives them."""
    for t in range(seconds):
        now = {name: each(t) if callable(each) else each for name, each in columns.items()}
        yield Frame(start + t, rows, {name: np.array(each, dtype=float) for name, each in now.items()})


def told(rows, columns, **times):
    jobs = JobsOnAgent("a CPU")
    return [each for frame in frames(rows, columns, **times) if (each := jobs.observe(frame)) is not None]


def test_containers_of_a_job_count_together():
    columns = {
        "cpu": [1.0, 0.5, 2.0],
        "cycles": [3e9, 1e9, 4e9],
        "instructions": [2e9, 1e9, 1e9],
    }
    (said,) = told((WEB1, WEB2, CRUNCH), columns)
    assert (said.at, said.seconds, said.cpu_type) == (1059.0, 59.0, "a CPU")
    crunch, web = said.jobs if said.jobs[0].job == "crunch" else said.jobs[::-1]
    assert (web.role, web.framework, web.job, web.containers, web.cpus) == ("production", "F1", "web", 2, 1.5)
    assert web.cpi == Cpi(samples=2.0, mean=1.25, variance=0.0625)
    assert (crunch.role, crunch.cpus, crunch.cpi) == ("best_effort", 2.0, Cpi(samples=1.0, mean=4.0, variance=0.0))
    assert from_executor.decode(said.encode()) == said


def test_who_hardly_runs_has_no_cpi():
    (said,) = told((WEB1,), {"cpu": [0.1], "cycles": [3e8], "instructions": [2e8]})
    assert said.jobs[0].cpi is None and said.jobs[0].cpus == pytest.approx(0.1)


def test_what_is_counted_half_the_time_is_a_ratio_of_that_half():
    half = {
        "cpu": [1.0],
        "cycles": lambda t: [3e9 if t % 2 else math.nan],
        "instructions": lambda t: [2e9 if t % 2 else 5e9],
    }
    (said,) = told((WEB1,), half)
    assert said.jobs[0].cpi is not None and said.jobs[0].cpi.mean == pytest.approx(1.5)


def test_the_objective_s_time():
    def sli(t):
        return [30.0 if 41 <= t <= 50 else 10.0, math.nan if t < 40 else 15.0]

    (said,) = told((WEB1, WEB2), {"cpu": [1.0, 1.0], "sli": sli})
    assert said.jobs[0].slo == Slo(
        indicator="p99", unit="ms", better="lower", now=15.0, objective=20.0, measured_s=79.0, met_s=69.0
    )


def test_every_minute_and_not_for_the_time_that_nobody_saw():
    jobs = JobsOnAgent("a CPU")
    seen = [jobs.observe(each) for each in frames((WEB1,), {"cpu": [1.0]}, seconds=121)]
    assert [i for i, each in enumerate(seen) if each is not None] == [60, 120]
    (late,) = frames((WEB1,), {"cpu": [1.0]}, seconds=1, start=1500.0)
    assert jobs.observe(late) is not None
    (back,) = frames((WEB1,), {"cpu": [1.0]}, seconds=1, start=900.0)
    assert jobs.observe(back) is None, "the clock was set back"


def test_a_message_is_bounded_and_keeps_who_has_an_objective():
    many = tuple(Container(f"c{i}", PRODUCTION, f"job{i}", 1.0, 1e8, "F") for i in range(MOST_JOBS + 50))
    rows = (*many, WEB1)
    (said,) = told(rows, {"cpu": [0.5] * len(many) + [0.01], "sli": [math.nan] * len(many) + [10.0]})
    assert len(said.jobs) == MOST_JOBS and said.jobs[0].job == "web"

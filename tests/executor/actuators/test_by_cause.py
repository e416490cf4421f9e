"""All actuators of an executor together, by its corrector, on a real tree in real cgroups."""

from __future__ import annotations

import os
import signal

import pytest

from serenity.daemon.clock import SystemClock
from serenity.executor.corrections.actuators import Allowance, Target
from serenity.executor.corrections.actuators.by_cause import actuators_by_cause
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.corrector import Corrector
from serenity.executor.corrections.originals import record_file
from tests.executor.actuators.conftest import NAME, cores_used, quota_of, set_quota, states
from tests.manual_clock import ManualClock
from tests.polling import eventually

QUARTER = Allowance(0.2, 0.8)


@pytest.fixture
def corrector(originals, trees):
    stop_and_go = StopAndGo(trees, SystemClock())
    actuators = actuators_by_cause(originals, NAME, trees, stop_and_go, SystemClock())
    return Corrector(actuators, stop_and_go, SystemClock())


@pytest.mark.root
def test_a_quota_is_preferred_and_stays_while_the_task_ends(corrector, cgroup, originals, tmp_path):
    assert corrector.throttle(Target("t1", cgroup), QUARTER) == "cpu quota, 0.20 of 0.80 cores"
    assert corrector.due() == {}
    corrector.let_end("t1")
    assert quota_of(cgroup) == 0.2
    corrector.release_all()
    assert quota_of(cgroup) is None
    originals.end()
    assert not record_file(tmp_path / "originals", NAME).exists()


@pytest.mark.root
def test_a_frozen_task_runs_for_its_sigterm_and_no_faster_than_before(burner, corrector, cgroup):
    target = Target("t1", cgroup)
    if "freezer" not in cgroup.folders:
        pytest.skip("no freezer cgroups here")
    corrector.throttle(target, QUARTER)
    # A busy machine may take longer than the corrector waits: it says "freezing" then.
    quota, freezer = corrector.freeze(target).split("; ")
    assert quota == "cpu quota, 0.20 of 0.80 cores" and freezer in (
        "cgroup freezer, frozen",
        "cgroup freezer, freezing",
    )
    eventually(lambda: cores_used(burner.pid, 0.3) == 0, "the frozen process to stand still")
    corrector.let_end("t1")
    assert 0 < cores_used(burner.pid, 0.6) < 0.35
    os.killpg(burner.pid, signal.SIGTERM)
    burner.wait(5)
    corrector.release("t1")


@pytest.mark.root
def test_another_writer_on_the_real_kernel(burner, cgroup, originals, trees):
    clock = ManualClock()
    stop_and_go = StopAndGo(trees, SystemClock())
    actuators = actuators_by_cause(originals, NAME, trees, stop_and_go, SystemClock())
    corrector = Corrector(actuators, stop_and_go, clock)
    corrector.throttle(Target("t1", cgroup), QUARTER)
    for quota_in_force in (0.9, 0.9, 0.9, 0.9, 0.2):  # Seen at 3 s, left alone until 13.
        set_quota(cgroup, 0.9)
        clock.advance(3)
        assert corrector.due() == {}
        assert quota_of(cgroup) == quota_in_force
    set_quota(cgroup, 0.9)
    clock.advance(3)
    (outcome,) = corrector.due().values()
    assert outcome.startswith("cpu quota given up: another writer has changed it again (")
    assert outcome.endswith("; duty cycle, 0.20 of 0.80 cores")
    corrector.release("t1")
    assert quota_of(cgroup) == 0.9  # His, and not ours to put back.
    assert "T" not in states(burner.pid)


def test_without_rights_signals_do_both(burner, corrector):
    assert corrector.throttle(Target("t1"), QUARTER) == "duty cycle, 0.20 of 0.80 cores"
    assert corrector.freeze(Target("t1")) == "duty cycle, 0.20 of 0.80 cores; SIGSTOP, frozen"
    assert states(burner.pid) == {"T"}
    corrector.let_end("t1")
    assert "T" not in states(burner.pid)


@pytest.mark.parametrize("cause", ["llc", "memory_bandwidth", "io", "cpu", "slo"])
def test_for_every_cause_there_is_something(corrector, cause):
    assert corrector.throttle(Target("t1"), QUARTER, cause).endswith("duty cycle, 0.20 of 0.80 cores")
    corrector.release("t1")

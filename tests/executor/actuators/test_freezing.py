"""Not running at all: by the real freezers of v1 and v2, and by signals."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

import pytest

from serenity.daemon.clock import SystemClock
from serenity.executor.corrections.actuators import ActuatorError, Allowance, Target
from serenity.executor.corrections.actuators.duty_cycle import DutyCycle
from serenity.executor.corrections.actuators.freezer import Freezer
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.actuators.stopped_tree import StoppedTree
from serenity.executor.corrections.originals import Originals
from serenity.executor.tasks import processes
from serenity.executor.tasks.cgroups import OwnedCgroup
from serenity.qos.sources.cgroups import V2, Mounts
from tests.executor.actuators.conftest import NAME, cores_used, states
from tests.executor.actuators.made_up_kernel import MadeUpKernel, cgroup_v2
from tests.polling import eventually

NOTHING = Allowance(0.0, 1.0)


@pytest.fixture
def unified(burner):
    """A real v2 cgroup for the burner, below whatever v2 hierarchy this machine has; it needs no controllers."""
    root = Mounts.read().folder(V2, "/")
    folder = root / f"serenity-{NAME}" if root is not None else None
    try:
        assert folder is not None
        folder.mkdir()
        for each in processes.with_descendants(burner.pid):
            (folder / "cgroup.procs").write_text(str(each.process.pid))
    except (AssertionError, OSError) as error:
        with contextlib.suppress(OSError, AttributeError):
            folder.rmdir()
        pytest.skip(f"no cgroup v2 here: {error}")
    yield OwnedCgroup(f"/serenity-{NAME}", {"cpu": folder, "freezer": folder}, v2=True)
    os.killpg(burner.pid, signal.SIGKILL)
    burner.wait()
    eventually(lambda: not (folder / "cgroup.procs").read_text(), "the cgroup is empty")
    folder.rmdir()


def _frozen_and_thawed(burner, freezer, target):
    """What the burner uses, frozen and then thawed; in cores."""
    assert freezer.available(target) is None
    assert freezer.apply(target, NOTHING) == "frozen"
    frozen = cores_used(burner.pid, 0.3)
    assert freezer.look(target) is None
    freezer.undo(target)
    return frozen, cores_used(burner.pid, 0.4)


@pytest.mark.root
def test_the_freezer_of_v1(burner, cgroup, originals):
    target = Target("t1", cgroup)
    freezer = Freezer(originals, SystemClock())
    if freezer.available(target) is not None or cgroup.v2:
        pytest.skip(f"no freezer of v1: {freezer.available(target)}")
    frozen, thawed = _frozen_and_thawed(burner, freezer, target)
    assert frozen == 0 < thawed


@pytest.mark.root
def test_the_freezer_of_v2(burner, unified, originals):
    frozen, thawed = _frozen_and_thawed(burner, Freezer(originals, SystemClock()), Target("t1", unified))
    assert frozen == 0 < thawed


@pytest.mark.root
def test_whoever_thaws_it_is_seen(burner, cgroup, originals):
    target, freezer = Target("t1", cgroup), Freezer(originals, SystemClock())
    if freezer.available(target) is not None:
        pytest.skip(freezer.available(target))
    freezer.apply(target, NOTHING)
    cgroup.thaw()
    assert freezer.look(target) is not None
    freezer.apply(target, NOTHING)
    assert freezer.look(target) is None
    freezer.undo(target)


def test_what_has_yet_to_freeze_is_held_all_the_same(tmp_path):
    class Slow(MadeUpKernel):
        def take(self, file, text):
            file.write_text(f"{text}\n")  # A process gets no CPU to freeze, or is in a system call: frozen 0.

    target = Target("t1", cgroup_v2(tmp_path / "t1"))
    freezer = Freezer(Originals(tmp_path / "originals", "c1", Slow()), SystemClock())
    assert freezer.apply(target, NOTHING) == "freezing"
    assert freezer.look(target) is None
    assert (tmp_path / "t1/cgroup.freeze").read_text() == "1\n"


def test_a_freezer_that_refuses(tmp_path):
    kernel, target = MadeUpKernel(), Target("t1", cgroup_v2(tmp_path / "t1"))
    kernel.refuses["cgroup.freeze"] = errno.EPERM
    with pytest.raises(ActuatorError, match=r"cgroup\.freeze"):
        Freezer(Originals(tmp_path / "originals", "c1", kernel), SystemClock()).apply(target, NOTHING)
    assert Freezer(Originals(tmp_path / "originals", "c2", kernel), SystemClock()).available(Target("t1")) is not None


class TestStoppedTree:
    def test_it_stops_and_goes_on(self, burner, trees):
        stop_and_go = StopAndGo(trees, SystemClock())
        stopped, target = StoppedTree(stop_and_go), Target("t1")
        stopped.apply(target, NOTHING)
        assert states(burner.pid) == {"T"}
        stopped.undo(target)
        assert cores_used(burner.pid, 0.3) > 0
        assert stop_and_go.next_s is None

    def test_a_duty_cycle_beneath_does_not_wake_it(self, burner, trees):
        stop_and_go = StopAndGo(trees, SystemClock())
        DutyCycle(stop_and_go).apply(Target("t1"), Allowance(0.5, 1.0))
        StoppedTree(stop_and_go).apply(Target("t1"), NOTHING)
        assert cores_used(burner.pid, 0.3, stop_and_go.turn) == 0
        StoppedTree(stop_and_go).undo(Target("t1"))
        assert cores_used(burner.pid, 0.4, stop_and_go.turn) > 0
        DutyCycle(stop_and_go).undo(Target("t1"))
        assert stop_and_go.next_s is None

    @pytest.mark.root
    def test_who_gets_no_cpu_to_stop_counts_as_stopped(self, burner, trees, cgroup):
        if cgroup.v2:
            pytest.skip("the quota is written as v1 wants it")
        (cgroup.folder / "cpu.cfs_period_us").write_text("1000000")
        (cgroup.folder / "cpu.cfs_quota_us").write_text("1000")
        time.sleep(0.1)  # Now it has used up its millisecond of this second.
        StoppedTree(StopAndGo(trees, SystemClock())).apply(Target("t1"), NOTHING)
        (cgroup.folder / "cpu.cfs_quota_us").write_text("-1")
        assert eventually(lambda: states(burner.pid) == {"T"}, "it has stopped")

    def test_whom_somebody_else_continues_is_stopped_again(self, burner, trees):
        stop_and_go = StopAndGo(trees, SystemClock())
        StoppedTree(stop_and_go).apply(Target("t1"), NOTHING)
        os.killpg(burner.pid, signal.SIGCONT)

        def stopped_again():
            stop_and_go.turn()
            return states(burner.pid) == {"T"}

        assert eventually(stopped_again, "it is stopped again")


def test_a_v1_cgroup_without_a_freezer(tmp_path):
    cgroup = OwnedCgroup("/t1", {"cpu": tmp_path, "freezer": tmp_path}, v2=False)
    assert Freezer(Originals(tmp_path, "c1", MadeUpKernel()), SystemClock()).available(Target("t1", cgroup)) == (
        f"{Path(tmp_path)} has no freezer.state"
    )

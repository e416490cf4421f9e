"""Less CPU: what a real tree of processes uses really goes down, and comes back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from serenity.daemon.clock import SystemClock
from serenity.executor.corrections.actuators import ActuatorError, Allowance, Target
from serenity.executor.corrections.actuators.cpu_quota import CpuQuota
from serenity.executor.corrections.actuators.cpuset import Cpuset, written
from serenity.executor.corrections.actuators.duty_cycle import DutyCycle
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.originals import Originals
from serenity.executor.tasks.cgroups import OwnedCgroup
from serenity.qos.sources.cpu_list import parse_cpus
from tests.executor.actuators.conftest import cores_used, quota_of, set_quota, states
from tests.executor.actuators.made_up_kernel import MadeUpKernel, cgroup_v2
from tests.polling import eventually

A_TENTH = Allowance(0.1, 1.0)


class TestCpuQuota:
    @pytest.mark.root
    def test_it_lowers_use_and_gives_it_back(self, burner, cgroup, originals):
        quota, target = CpuQuota(originals), Target("t1", cgroup)
        assert quota.available(target) is None
        assert quota.apply(target, A_TENTH) == "0.10 of 1.00 cores"
        assert quota_of(cgroup) == 0.1
        throttled = cores_used(burner.pid, 0.8)
        assert throttled < 0.2
        quota.apply(target, Allowance(0.5, 1.0))
        assert quota_of(cgroup) == 0.5
        quota.undo(target)
        assert quota_of(cgroup) is None
        # On a busy machine its share is small for a while, with or without a quota.
        eventually(lambda: cores_used(burner.pid, 0.4) > 1.5 * throttled, "more CPU than under the quota")

    @pytest.mark.root
    def test_another_writer_is_seen_and_what_he_wrote_is_left(self, cgroup, originals):
        quota, target = CpuQuota(originals), Target("t1", cgroup)
        quota.apply(target, A_TENTH)
        assert quota.look(target) is None
        set_quota(cgroup, 0.7)
        assert quota.look(target).endswith("is 70000")
        quota.undo(target)
        assert quota_of(cgroup) == 0.7

    def test_a_cgroup_that_is_gone(self, tmp_path):
        gone = OwnedCgroup("/gone", {"cpu": tmp_path / "gone"}, v2=False)
        quota = CpuQuota(Originals(tmp_path / "originals", "c1", MadeUpKernel()))
        with pytest.raises(ActuatorError, match="No such file"):
            quota.apply(Target("t1", gone), A_TENTH)
        quota.undo(Target("t1", gone))

    def test_without_a_cgroup(self, tmp_path):
        quota = CpuQuota(Originals(tmp_path / "originals", "c1", MadeUpKernel()))
        assert quota.available(Target("t1")) == "the task has no cgroup of its own"

    def test_on_v2_the_period_stays(self, tmp_path):
        target = Target("t1", cgroup_v2(tmp_path / "t1"))
        quota = CpuQuota(Originals(tmp_path / "originals", "c1", MadeUpKernel()))
        (tmp_path / "t1/cpu.max").write_text("max 50000\n")
        quota.apply(target, Allowance(0.25, 1.0))
        assert (tmp_path / "t1/cpu.max").read_text() == "12500 50000\n"
        quota.apply(target, Allowance(0.001, 1.0))
        assert (tmp_path / "t1/cpu.max").read_text() == "1000 50000\n"  # The kernel takes no less.
        quota.undo(target)
        assert (tmp_path / "t1/cpu.max").read_text() == "max 50000\n"

    def test_what_the_kernel_refuses_leaves_all_as_before(self, tmp_path):
        kernel, target = MadeUpKernel(), Target("t1", cgroup_v2(tmp_path / "t1"))
        quota = CpuQuota(Originals(tmp_path / "originals", "c1", kernel))
        quota.apply(target, Allowance(0.5, 1.0))
        kernel.refuses["cpu.max"] = errno.EINVAL
        with pytest.raises(ActuatorError, match=r"Invalid argument \(.*/cpu.max\)"):
            quota.apply(target, A_TENTH)
        del kernel.refuses["cpu.max"]
        assert quota.look(target) is None
        quota.undo(target)
        assert (tmp_path / "t1/cpu.max").read_text() == "max 100000\n"

    def test_it_is_looked_whether_the_kernel_has_it(self, tmp_path):
        class Deaf(MadeUpKernel):
            def take(self, file, text):
                """It takes everything, and does nothing."""

        target = Target("t1", cgroup_v2(tmp_path / "t1"))
        with pytest.raises(ActuatorError, match="the kernel says max 100000"):
            CpuQuota(Originals(tmp_path / "originals", "c1", Deaf())).apply(target, A_TENTH)


class TestCpuset:
    @pytest.mark.root
    @pytest.mark.skipif(os.cpu_count() == 1, reason="one CPU can be taken from nobody")
    def test_it_shrinks_and_gives_back(self, burner, cgroup, originals):
        cpuset, target = Cpuset(originals), Target("t1", cgroup)
        if cpuset.available(target) is not None:
            pytest.skip(cpuset.available(target))
        before = os.sched_getaffinity(burner.pid)
        assert cpuset.apply(target, Allowance(1.0, 2.0)).startswith("CPUs ")
        assert len(os.sched_getaffinity(burner.pid)) == 1
        cpuset.undo(target)
        assert os.sched_getaffinity(burner.pid) == before

    @pytest.fixture
    def sys(self, tmp_path):
        """Two cores with two threads each: 0 with 2, 1 with 3."""
        for cpu, siblings in {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}.items():
            folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(f"{siblings}\n")
        return tmp_path / "sys"

    def test_whole_cores_are_left_to_production(self, tmp_path, sys):
        target = Target("t1", cgroup_v2(tmp_path / "t1"))
        cpuset = Cpuset(Originals(tmp_path / "originals", "c1", MadeUpKernel()), sys)
        file = tmp_path / "t1/cpuset.cpus"
        assert cpuset.apply(target, Allowance(2.5, 4.0)) == "CPUs 1,3 of 0-3"
        assert file.read_text() == "1,3\n"
        cpuset.apply(target, Allowance(1.9, 4.0))
        assert file.read_text() == "3\n"
        cpuset.apply(target, Allowance(3.0, 4.0))  # Eased: of what it had before, not of what it has now.
        assert file.read_text() == "1-3\n"
        cpuset.undo(target)
        assert file.read_text() == "\n"

    def test_it_gives_no_less_than_a_cpu(self, tmp_path, sys):
        target = Target("t1", cgroup_v2(tmp_path / "t1"))
        with pytest.raises(ActuatorError, match="no less than one CPU"):
            Cpuset(Originals(tmp_path / "originals", "c1", MadeUpKernel()), sys).apply(target, A_TENTH)

    @pytest.mark.parametrize("text", ["0", "0-3", "0,2", "0-1,4-6,9"])
    def test_lists_of_cpus_are_spelled_as_the_kernel_does(self, text):
        assert written(parse_cpus(f"{text}\n")) == text


class TestDutyCycle:
    def test_it_lowers_use_and_gives_it_back(self, burner, trees):
        stop_and_go = StopAndGo(trees, SystemClock())
        duty, target = DutyCycle(stop_and_go), Target("t1")
        free = cores_used(burner.pid, 0.4)
        assert duty.available(target) is None
        duty.apply(target, A_TENTH)
        throttled = cores_used(burner.pid, 0.8, stop_and_go.turn)
        assert throttled < min(0.25, 0.7 * free)
        duty.undo(target)
        assert stop_and_go.next_s is None
        assert "T" not in states(burner.pid)
        assert cores_used(burner.pid, 0.4) > 1.5 * throttled

    def test_the_tree_has_stopped_when_it_says_so(self, burner, trees):
        duty = DutyCycle(StopAndGo(trees, SystemClock()))
        duty.apply(Target("t1"), A_TENTH)
        assert states(burner.pid) == {"T"}
        duty.undo(Target("t1"))

    def test_it_objects_when_the_tree_does_not_stop(self, burner, trees, monkeypatch):
        monkeypatch.setattr(trees, "signal", lambda *_: None)
        stop_and_go = StopAndGo(trees, SystemClock())
        with pytest.raises(ActuatorError, match="do not stop"):
            DutyCycle(stop_and_go).apply(Target("t1"), A_TENTH)
        assert stop_and_go.next_s is None

    def test_eased_to_all_of_it_nothing_is_stopped_any_more(self, burner, trees):
        stop_and_go = StopAndGo(trees, SystemClock())
        duty = DutyCycle(stop_and_go)
        duty.apply(Target("t1"), A_TENTH)
        duty.apply(Target("t1"), Allowance(1.0, 1.0))
        assert stop_and_go.next_s is None
        assert "T" not in states(burner.pid)


def test_made_up_kernels_refuse_what_the_real_one_does(tmp_path):
    file = tmp_path / "cpu.max"
    file.write_text("max 100000\n")
    with pytest.raises(OSError, match="Invalid argument"):
        MadeUpKernel().write(file, "999 100000")
    with pytest.raises(FileNotFoundError):
        MadeUpKernel().write(Path(tmp_path / "gone/cpu.max"), "max 100000")

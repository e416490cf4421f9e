"""Throttles on real processes: the CPU that they use really goes down, and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serenity.executor import cgroups, processes
from serenity.executor.actuators import ActuatorError, Target
from serenity.executor.actuators.cpu_quota import CpuQuota
from serenity.executor.actuators.duty_cycle import DutyCycle
from serenity.executor.cgroups import CGROUP_PREFIX, CpuHierarchy, TaskCgroups, find_hierarchy, sweep
from serenity.executor.corrector import Corrector
from serenity.executor.trees import Trees
from serenity.qos.sources.cgroups import V2, Mounts

BURN = "while True: pass"
NAME = f"test-{os.getpid()}"


@pytest.fixture
def burner():
    """A shell that waits for a child that burns CPU: a tree, not one process."""
    process = subprocess.Popen(["sh", "-c", f"{sys.executable} -S -c '{BURN}' & wait"], start_new_session=True)
    deadline = time.monotonic() + 5
    while len(processes.with_descendants(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGCONT)
    process.wait()


@pytest.fixture
def trees(burner):
    made = Trees()
    made.add("t1", burner.pid)
    return made


def cpu_s(pid):
    """CPU seconds of a tree."""
    ticks = 0
    for each in processes.with_descendants(pid):
        fields = Path(f"/proc/{each.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cores_used(pid, for_s, turn=lambda: None):
    before, began = cpu_s(pid), time.monotonic()
    while time.monotonic() - began < for_s:
        turn()
        time.sleep(0.002)
    return (cpu_s(pid) - before) / (time.monotonic() - began)


def states(pid):
    return {each.state for each in processes.with_descendants(pid)}


def test_the_duty_cycle_lowers_use_and_gives_it_back(burner, trees):
    duty = DutyCycle(trees, time.monotonic)
    target = Target("t1", None)
    free = cores_used(burner.pid, 0.5)
    assert duty.available(target) is None
    duty.apply(target, 0.1, 1.0)
    throttled = cores_used(burner.pid, 1.0, duty.turn)
    assert throttled < min(0.25, 0.7 * free)
    duty.undo(target)
    assert duty.next_s is None
    assert "T" not in states(burner.pid)
    assert cores_used(burner.pid, 0.5) > 1.5 * throttled


def test_the_duty_cycle_has_stopped_the_tree_when_it_says_so(burner, trees):
    duty = DutyCycle(trees, time.monotonic)
    duty.apply(Target("t1", None), 0.1, 1.0)
    assert states(burner.pid) == {"T"}
    duty.undo(Target("t1", None))


def test_the_duty_cycle_objects_when_the_tree_does_not_stop(burner, trees, monkeypatch):
    monkeypatch.setattr(trees, "signal", lambda *_: None)
    duty = DutyCycle(trees, time.monotonic)
    with pytest.raises(ActuatorError, match="do not stop"):
        duty.apply(Target("t1", None), 0.1, 1.0)
    assert duty.next_s is None


HIERARCHY = find_hierarchy()
NO_CGROUPS = TaskCgroups(HIERARCHY, f"{NAME}-try").unavailable
needs_cgroups = [pytest.mark.root, pytest.mark.skipif(NO_CGROUPS is not None, reason=f"cpu cgroups: {NO_CGROUPS}")]


@pytest.fixture
def cgroup(burner):
    made = TaskCgroups(HIERARCHY, NAME).make()
    for member in processes.with_descendants(burner.pid):
        for file in made.procs_files:
            Path(file).write_text(str(member.process.pid))
    yield made
    os.killpg(burner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not made.remove() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not made.folder.exists()


class TestCpuQuota:
    pytestmark = needs_cgroups

    def test_it_lowers_use_and_gives_it_back(self, burner, cgroup):
        quota, target = CpuQuota(), Target("t1", cgroup)
        assert quota.available(target) is None
        quota.apply(target, 0.1, 1.0)
        assert cgroup.quota() == 0.1
        throttled = cores_used(burner.pid, 1.0)
        assert throttled < 0.2
        quota.undo(target)
        assert cgroup.quota() is None
        assert cores_used(burner.pid, 0.5) > 1.5 * throttled

    def test_it_is_looked_whether_the_kernel_has_it(self, cgroup, monkeypatch):
        monkeypatch.setattr(cgroup, "quota", lambda: None)
        with pytest.raises(ActuatorError, match="the kernel says None"):
            CpuQuota().apply(Target("t1", cgroup), 0.2, 1.0)

    def test_a_cgroup_that_is_gone(self, cgroup):
        gone = cgroups.CpuCgroup(HIERARCHY, f"{cgroup.path}-gone")
        with pytest.raises(ActuatorError, match="No such file"):
            CpuQuota().apply(Target("t1", gone), 0.2, 1.0)
        CpuQuota().undo(Target("t1", gone))

    def test_the_corrector_prefers_it_and_takes_it_back(self, burner, trees, cgroup):
        corrector = Corrector((CpuQuota(), DutyCycle(trees, time.monotonic)))
        assert corrector.throttle(Target("t1", cgroup), 0.2, 0.8) == "cpu quota, 0.20 of 0.80 cores"
        corrector.let_end("t1")
        assert cgroup.quota() == 0.2
        corrector.release_all()
        assert cgroup.quota() is None


def test_the_corrector_falls_back_to_what_works(burner, trees):
    corrector = Corrector((CpuQuota(), DutyCycle(trees, time.monotonic)))
    assert corrector.throttle(Target("t1", None), 0.2, 0.8) == "duty cycle, 0.20 of 0.80 cores"
    corrector.let_end("t1")
    assert "T" not in states(burner.pid)


def test_the_corrector_says_when_nothing_works():
    corrector = Corrector((CpuQuota(),))
    assert corrector.throttle(Target("t1", None), 0.2, 0.8) == (
        "not applied: cpu quota: the task has no cgroup of its own"
    )


def test_an_unused_cgroup_is_swept_and_a_used_one_or_a_stranger_is_not(tmp_path):
    made = {
        name: tmp_path / name
        for name in (f"{CGROUP_PREFIX}old", f"{CGROUP_PREFIX}young", f"{CGROUP_PREFIX}used", "stranger")
    }
    for folder in made.values():
        folder.mkdir()
    (made[f"{CGROUP_PREFIX}used"] / "child").mkdir()
    now = time.time()
    for name in (f"{CGROUP_PREFIX}old", f"{CGROUP_PREFIX}used", "stranger"):
        os.utime(made[name], (now - 3600, now - 3600))
    sweep(CpuHierarchy(Mounts({"cpu": (tmp_path, "/")}), "cpu", "/"), now)
    assert {name for name, folder in made.items() if folder.exists()} == {
        f"{CGROUP_PREFIX}young",
        f"{CGROUP_PREFIX}used",
        "stranger",
    }


def _proc(tmp_path, cgroup, mountinfo):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(cgroup)
    (tmp_path / "self/mountinfo").write_text(mountinfo)
    return tmp_path


def test_the_hierarchy_on_v1(tmp_path):
    mountinfo = "30 1 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    found = find_hierarchy(_proc(tmp_path, "4:cpu,cpuacct:/mesos/c1\n0::/\n", mountinfo))
    assert (found.v2, found.own, found.top, found.accounting) == (False, "/mesos/c1", "/", False)
    assert found.folder(found.own) == Path("/sys/fs/cgroup/cpu,cpuacct/mesos/c1")


def test_the_hierarchy_on_v2_needs_the_controller(tmp_path):
    mount = tmp_path / "cgroup"
    mount.mkdir()
    (mount / "cgroup.controllers").write_text("cpuset memory")
    proc = _proc(tmp_path, "0::/system.slice/agent\n", f"30 1 0:1 / {mount} rw - cgroup2 none rw\n")
    assert find_hierarchy(proc) is None
    (mount / "cgroup.controllers").write_text("cpuset cpu memory")
    found = find_hierarchy(proc)
    assert (found.controller, found.own) == (V2, "/system.slice/agent")


@pytest.mark.parametrize(
    ("own", "handed_down", "why"),
    [
        ("/mesos/c1/leaf", "cpu memory", "whose memory limit its tasks must not leave"),
        ("/system.slice/agent", "memory", "hands no cpu controller down"),
        ("/system.slice/agent", "cpu memory", None),
    ],
)
def test_task_cgroups_on_v2(tmp_path, own, handed_down, why):
    (tmp_path / "cgroup.subtree_control").write_text(handed_down)
    hierarchy = CpuHierarchy(Mounts({V2: (tmp_path, "/")}), V2, own)
    if why is None:
        assert cgroups.task_parent(hierarchy, "c1") == "/"
    else:
        with pytest.raises(OSError, match=why):
            cgroups.task_parent(hierarchy, "c1")


def test_quotas_on_v2_are_written_as_v2_wants_them(tmp_path):
    cgroup = cgroups.CpuCgroup(CpuHierarchy(Mounts({V2: (tmp_path, "/")}), V2, "/"), "/t1")
    cgroup.make()
    cgroup.set_quota(0.25)
    assert (tmp_path / "t1/cpu.max").read_text() == "25000 100000"
    assert cgroup.quota() == 0.25
    cgroup.set_quota(None)
    assert (tmp_path / "t1/cpu.max").read_text() == "max 100000"
    assert cgroup.quota() is None

"""Cgroups: where an executor and its tasks are in them, and what is left of killed ones."""

from __future__ import annotations

import os
import time

import pytest

from serenity.executor.tasks import cgroups
from serenity.executor.tasks.cgroups import (
    CGROUP_PREFIX,
    Hierarchies,
    OwnedCgroup,
    TaskCgroups,
    find_hierarchies,
    sweep,
)
from serenity.qos.sources.cgroups import V2, Mounts


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
    sweep(Hierarchies(Mounts({"cpu": (tmp_path, "/")}), {"cpu": "/"}), now)
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


def test_the_hierarchies_on_v1(tmp_path):
    mountinfo = "30 1 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    mountinfo += "31 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    proc = _proc(tmp_path, "5:pids:/\n4:cpu,cpuacct:/mesos/c1\n3:memory:/mesos/c2\n0::/\n", mountinfo)
    found = find_hierarchies(proc)
    assert (found.v2, found.top("cpu")) == (False, "/")
    assert found.own == {"cpu": "/mesos/c1", "cpuacct": "/mesos/c1", "memory": "/mesos/c2"}
    path, folders = cgroups.task_folders(found, "c1", "serenity-c1-1")
    assert path == "/mesos/c1/serenity-c1-1"
    assert {each: str(folder) for each, folder in folders.items()} == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/mesos/c1/serenity-c1-1",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/mesos/c1/serenity-c1-1",
        "memory": "/sys/fs/cgroup/memory/mesos/c2/serenity-c1-1",
    }
    # The CPU's last: who is in it has the lowest priority, and holds the machine's lock while he joins another.
    joined = OwnedCgroup(path, folders, v2=False).procs_files
    assert [each.split("/")[4] for each in joined] == ["memory", "cpu,cpuacct"]


def test_the_hierarchies_on_v2_need_the_controller(tmp_path):
    mount = tmp_path / "cgroup"
    mount.mkdir()
    (mount / "cgroup.controllers").write_text("cpuset memory")
    proc = _proc(tmp_path, "0::/system.slice/agent\n", f"30 1 0:1 / {mount} rw - cgroup2 none rw\n")
    assert find_hierarchies(proc) is None
    (mount / "cgroup.controllers").write_text("cpuset cpu memory")
    found = find_hierarchies(proc)
    assert (found.v2, found.own) == (True, {V2: "/system.slice/agent"})


@pytest.mark.parametrize(
    ("own", "handed_down", "why"),
    [
        ("/mesos/c1/leaf", "cpu", "hands no memory controller down"),
        ("/mesos/c1/leaf", "cpu memory", None),
        ("/system.slice/agent", "memory", "hands no cpu controller down"),
        ("/system.slice/agent", "cpu", None),
    ],
)
def test_task_cgroups_on_v2(tmp_path, own, handed_down, why):
    """Those of a Mesos container's tasks leave its memory limit, so each must have one of its own."""
    (tmp_path / "cgroup.subtree_control").write_text(handed_down)
    made = TaskCgroups(Hierarchies(Mounts({V2: (tmp_path, "/")}), {V2: own}), "c1")
    if why is None:
        path, folders = cgroups.task_folders(Hierarchies(Mounts({V2: (tmp_path, "/")}), {V2: own}), "c1", "t")
        assert path == "/t"
        assert set(folders) == {*handed_down.split(), "freezer"} and set(folders.values()) == {tmp_path / "t"}
    else:
        assert why in made.unavailable and made.make() is None

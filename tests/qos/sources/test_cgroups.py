from __future__ import annotations

import os
from pathlib import Path

from serenity.qos.sources import cgroups
from serenity.qos.sources.cgroups import V2, Cgroup, Mounts

ID = "d25bbdfb-c623-4833-a1cb-3b64b7b8b103"

HYBRID = b"""\
24 1 0:21 / /proc rw - proc proc rw
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 25 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
35 25 0:30 / /mnt/again rw - cgroup2 cgroup2 rw
"""
INSIDE = b"40 25 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"


def test_v1_and_v2_mounted_at_once():
    mounts = Mounts.parse(HYBRID)
    assert mounts.folder("cpuacct", "/mesos/x") == Path("/sys/fs/cgroup/cpu,cpuacct/mesos/x")
    assert mounts.folder("cpu", "/") == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert mounts.folder(V2, "/mesos/x") == Path("/sys/fs/cgroup/unified/mesos/x")
    assert mounts.folder("blkio", "/mesos/x") is None


def test_a_mount_that_shows_a_part_of_its_hierarchy():
    mounts = Mounts.parse(INSIDE)
    assert mounts.folder("memory", "/docker/abc/mesos/x") == Path("/sys/fs/cgroup/memory/mesos/x")
    assert mounts.folder("memory", "/elsewhere") is None
    assert mounts.folder("memory", "/docker/abcdef") is None, "beside the root of the mount, not below it"


def test_names_need_be_no_text(tmp_path):
    """One task's cgroup must not blind the node, nor somebody's mount the sampler."""
    mounts = Mounts.parse(HYBRID + b"36 25 0:40 / /mnt/m\xe9\\040one rw - cgroup cgroup rw,memory\n")
    odd = f"/mesos/{ID}/evil\udcff\x0b\u2028"
    proc = proc_with(tmp_path, f"0::{odd}\n")
    assert cgroups.of_process(mounts, 42, ID, proc, whole=True).folder(V2) == Path(f"/sys/fs/cgroup/unified{odd}")
    spaced = Mounts.parse(b"36 25 0:40 / /mnt/m\xe9\\040one rw - cgroup cgroup rw,memory\n")
    assert spaced.folder("memory", "/a") == Path("/mnt/m\udce9 one/a")


def test_memberships():
    text = f"4:memory:/mesos/{ID}\n2:cpu,cpuacct:/\n1:name=systemd:/a:b\n0::/init.scope\n"
    assert cgroups.memberships(text.encode()) == {
        "memory": f"/mesos/{ID}",
        "cpu": "/",
        "cpuacct": "/",
        "name=systemd": "/a:b",
        V2: "/init.scope",
    }


def test_a_cgroup_counts_only_if_it_is_the_containers_own():
    assert cgroups.own_path(f"/mesos/{ID}", ID) == f"/mesos/{ID}"
    assert cgroups.own_path(f"/mesos/{ID}/leaf", ID) == f"/mesos/{ID}"
    assert cgroups.own_path(f"/mesos/{ID}/mesos/nested", ID) == f"/mesos/{ID}"
    for shared in ("/", "/user.slice/session-3.scope", "/system.slice/mesos-agent.service", f"/mesos/{ID}0"):
        assert cgroups.own_path(shared, ID) is None


def proc_with(tmp_path, cgroup):
    (tmp_path / "proc/42").mkdir(parents=True)
    (tmp_path / "proc/42/cgroup").write_bytes(os.fsencode(cgroup))
    return tmp_path / "proc"


def test_each_controller_for_itself(tmp_path):
    # cgroups/cpu isolation alone: the memory cgroup is everybody's.
    proc = proc_with(tmp_path, f"4:memory:/shared\n2:cpu,cpuacct:/mesos/{ID}\n")
    found = cgroups.of_process(Mounts.parse(HYBRID), 42, ID, proc)
    assert set(found.folders) == {"cpu", "cpuacct"}
    assert found.folder("memory") is None
    assert found.folder("memory", "cpu") == Path(f"/sys/fs/cgroup/cpu,cpuacct/mesos/{ID}")


def test_a_process_in_the_root_has_none(tmp_path):
    proc = proc_with(tmp_path, "4:memory:/\n2:cpu,cpuacct:/\n0::/\n")
    assert not cgroups.of_process(Mounts.parse(HYBRID), 42, ID, proc)


def test_what_an_executor_declares_is_taken_where_it_is(tmp_path):
    points = {name: (tmp_path / name, "/") for name in ("cpu", "memory", "perf_event")}
    (tmp_path / "cpu/mesos/c/t1").mkdir(parents=True)
    # In the root of the hierarchy that Mesos does not use; and one more in which it has none.
    proc = proc_with(tmp_path, "3:perf_event:/t1\n2:memory:/mesos/c\n1:cpu:/mesos/c/t1\n")
    there = {"cpu": tmp_path / "cpu/mesos/c/t1"}
    for pid, found in ((42, {**there, "perf_event": tmp_path / "perf_event/t1"}), (43, there), (None, there)):
        assert cgroups.declared(Mounts(points), "/mesos/c/t1", pid, proc).folders == found


def test_dockers_own_cgroups_are_taken_as_they_are(machine, tmp_path):
    made = machine("memory", "v2")
    made.container("web", 7)
    (made.proc / "7/cgroup").write_text("1:memory:/docker/4f5e\n0::/system.slice/docker-4f5e.scope\n")
    mounts = made.places.mounts
    assert not cgroups.of_process(mounts, 7, "web", made.proc)
    assert cgroups.of_process(mounts, 7, "web", made.proc, whole=True) == Cgroup(
        {"memory": tmp_path / "memory/docker/4f5e", V2: tmp_path / "v2/system.slice/docker-4f5e.scope"}
    )
    (made.proc / "7/cgroup").write_text("1:memory:/\n0::/\n")
    assert not cgroups.of_process(mounts, 7, "web", made.proc, whole=True)

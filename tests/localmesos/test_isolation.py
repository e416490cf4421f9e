"""Containers in cgroups of their own, on the embedded Mesos and on a real one."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from serenity.cli.stack import can_isolate_by_cgroups
from serenity.localmesos.cluster.cluster import Cluster, ClusterError, ClusterOptions
from serenity.localmesos.containers.cgroups import Cgroups, CgroupsError
from serenity.wire.mesos.resources import Resources
from serenity.wire.transport import http
from tests.clusters import KINDS_AND_CGROUPS, cluster_options

pytestmark = pytest.mark.root
REAL = KINDS_AND_CGROUPS[-1]
HIERARCHIES = ("cpu", "cpuacct", "memory", "freezer")
# Without the counters of memory pressure, which only a real agent has.
STATISTICS = {
    "cpus_soft_limit", "cpus_system_time_secs", "cpus_user_time_secs", "mem_anon_bytes", "mem_cache_bytes",
    "mem_file_bytes", "mem_limit_bytes", "mem_mapped_file_bytes", "mem_rss_bytes", "mem_soft_limit_bytes",
    "mem_swap_bytes", "mem_total_bytes", "mem_unevictable_bytes", "timestamp",
}  # fmt: skip
FLAGS = {"executor_shutdown_grace_period": "1secs", "executor_reregistration_timeout": "1secs"}


@pytest.fixture(scope="module", params=["localmesos", REAL])
def isolated(request, tmp_path_factory):
    if not can_isolate_by_cgroups():
        pytest.skip("needs root and cgroups v1 with cpu, cpuacct, memory and freezer")
    more = {"agent_flags": FLAGS, "resources": "cpus:4;mem:4096;disk:1024"}
    if request.param == "localmesos":
        more["cgroups"] = True
    options = cluster_options(request.param, tmp_path_factory.mktemp(request.param), **more)
    with Cluster(options) as cluster:
        root = cluster_root(cluster)
        yield cluster
    assert [str(each) for each in Path("/sys/fs/cgroup").glob(f"*/{root}")] == []


def cluster_root(cluster):
    return http.get_json(http.Endpoint.parse(cluster.agent), "/flags")["flags"]["cgroups_root"]


@pytest.fixture
def scheduler(isolated, tools):
    return tools.scheduler(isolated)


@pytest.fixture
def provider(isolated, tools):
    made = tools.provider(isolated)
    made.report(2, 512)
    return made


@pytest.fixture
def look(isolated):
    """Reads a file of a container's cgroup; None if the container has none."""
    root = cluster_root(isolated)

    def look(container_id, hierarchy, name="cgroup.procs"):
        try:
            return Path("/sys/fs/cgroup", hierarchy, root, container_id, name).read_text().strip()
        except FileNotFoundError:
            return None

    return look


def container_of(scheduler, task):
    return scheduler.update(task, "TASK_RUNNING")["container_status"]["container_id"]["value"]


def run_probe(scheduler, tools, resources, executor=None):
    """A task of these resources in a probe executor that has them too, or in the one that is given."""
    offer = scheduler.offer(lambda offered: offered.revocable.cpus >= 1)
    executor = executor or tools.executor(resources)
    data = base64.b64encode(b"run").decode()
    task = scheduler.task(offer, executor=executor, resources=resources, data=data)
    scheduler.accept(offer, task)
    return executor, task


def test_shares_and_memory_of_a_regular_task(scheduler, look):
    task = scheduler.run("sleep 1000 & (setsid sleep 1000 &); exec sleep 1000", cpus=0.5, mem=64)
    container_id = container_of(scheduler, task)
    assert look(container_id, "cpu", "cpu.shares") == str(int(0.6 * 1024))
    for name in ("memory.limit_in_bytes", "memory.soft_limit_in_bytes"):
        assert look(container_id, "memory", name) == str(96 << 20)


def words(pid):
    """Of its command line; none of a process that has ended since it was listed, as shells on their way do."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_whatever_a_command_starts_is_in_its_cgroups_and_ends_with_it(scheduler, look, tools):
    task = scheduler.run("sleep 1001 & (setsid sleep 1001 &); exec sleep 1001")
    container_id = container_of(scheduler, task)

    def sleepers():
        return [pid for pid in look(container_id, "freezer").split() if "1001" in words(pid)]

    found = tools.eventually(lambda: len(pids := sleepers()) == 3 and pids)
    for hierarchy in HIERARCHIES:
        assert set(found) <= set(look(container_id, hierarchy).split())
    scheduler.kill(task)
    scheduler.update(task, "TASK_KILLED")
    tools.eventually(lambda: not any(tools.alive(int(pid)) for pid in found))
    tools.eventually(lambda: all(look(container_id, each) is None for each in HIERARCHIES))


def test_revocable_cpus_count_ten_and_memory_is_never_lowered(scheduler, provider, look, tools):
    resources = provider.resources(0.3, 64)
    executor, first = run_probe(scheduler, tools, resources)
    container_id = container_of(scheduler, first)
    assert look(container_id, "cpu", "cpu.shares") == "6"
    _, second = run_probe(scheduler, tools, resources, executor)
    scheduler.update(second, "TASK_RUNNING")
    assert look(container_id, "cpu", "cpu.shares") == "9"
    scheduler.kill(second)
    scheduler.update(second, "TASK_KILLED")
    tools.eventually(lambda: look(container_id, "cpu", "cpu.shares") == "6")
    assert look(container_id, "memory", "memory.limit_in_bytes") == str(192 << 20)
    assert look(container_id, "memory", "memory.soft_limit_in_bytes") == str(128 << 20)


def test_statistics_are_those_of_the_cgroup(scheduler, isolated, look, tools):
    task = scheduler.run("exec sleep 1000", cpus=0.5, mem=64)
    container_id = container_of(scheduler, task)

    def read():
        shown = {each["container_id"]: each["statistics"] for each in tools.get(isolated.agent, "/containers")}
        return shown[container_id]

    statistics = read()
    assert {name for name in statistics if "pressure" not in name} == STATISTICS
    assert (statistics["cpus_soft_limit"], statistics["mem_limit_bytes"]) == (0.6, 96 << 20)
    # The kernel counts in portions: at once it need not be exact.
    tools.eventually(lambda: 1 << 20 < (now := read())["mem_rss_bytes"] <= now["mem_total_bytes"])
    tools.eventually(lambda: (now := read())["cpus_user_time_secs"] + now["cpus_system_time_secs"] > 0)


def test_what_is_frozen_or_in_a_cgroup_below_is_destroyed_too(scheduler, provider, look, tools, isolated):
    if isolated.real:
        pytest.skip("how a real one does that is its own business, and takes it long")
    executor, task = run_probe(scheduler, tools, provider.resources(0.3, 64))
    status = scheduler.update(task, "TASK_RUNNING")
    container_id = container_of(scheduler, task)
    folder = Path("/sys/fs/cgroup/cpu", cluster_root(isolated), container_id, "below")
    folder.mkdir()
    (folder / "cgroup.procs").write_text(look(container_id, "cpu").split()[-1])
    Path("/sys/fs/cgroup/freezer", cluster_root(isolated), container_id, "freezer.state").write_text("FROZEN")
    shutdown = {"agent_id": status["agent_id"], "executor_id": executor["executor_id"]}
    scheduler.call("SHUTDOWN", shutdown=shutdown)
    assert scheduler.wait("FAILURE")["failure"]["status"] == 9
    tools.eventually(lambda: look(container_id, "cpu") is None)


def test_an_executor_without_resources_is_destroyed_after_its_last_task(scheduler, tools):
    offer = scheduler.offer()
    data = base64.b64encode(b"run").decode()
    task = scheduler.task(offer, executor=tools.executor([]), data=data)
    scheduler.accept(offer, task)
    scheduler.update(task, "TASK_RUNNING")
    scheduler.kill(task)
    scheduler.update(task, "TASK_KILLED")
    assert scheduler.wait("FAILURE")["failure"]["status"] == 9


def test_containers_keep_their_cgroups_while_the_agent_is_away(scheduler, isolated, look, tools):
    task = scheduler.run("exec sleep 1000", cpus=0.5, mem=64)
    container_id = container_of(scheduler, task)
    before = look(container_id, "freezer").split()
    isolated.kill_agent()
    isolated.start_agent()
    assert look(container_id, "freezer").split() == before
    assert container_id in {each["container_id"] for each in tools.get(isolated.agent, "/containers")}
    scheduler.kill(task)
    scheduler.update(task, "TASK_KILLED")
    tools.eventually(lambda: look(container_id, "freezer") is None)


def test_without_low_priority_revocable_cpus_are_as_good(tmp_path):
    if not can_isolate_by_cgroups():
        pytest.skip("needs root and cgroups v1 with cpu, cpuacct, memory and freezer")
    cgroups = Cgroups(f"serenity-test-{os.getpid()}", low_priority=False)
    try:
        slack = Resources.scalar("cpus", 2, revocable={}) + Resources.scalar("mem", 64)
        cgroups.create("one", slack)
        shares = Path("/sys/fs/cgroup/cpu", f"serenity-test-{os.getpid()}", "one/cpu.shares").read_text()
        assert int(shares) == 2048
        assert cgroups.containers() == {"one"}
    finally:
        cgroups.remove_root()


# -- where there can be none -----------------------------------------------------------------


def test_what_is_missing_is_said(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n")
    wanted = "not mounted: cpuacct, memory, freezer" if os.geteuid() == 0 else "needs root"
    with pytest.raises(CgroupsError, match=wanted):
        Cgroups("nothing", mounts=mounts)


def test_asked_for_in_vain_it_does_not_start(tmp_path):
    if can_isolate_by_cgroups():
        pytest.skip("here it is possible")
    with pytest.raises(ClusterError, match="cgroups isolation needs "):
        Cluster(ClusterOptions(tmp_path, cgroups=True)).start()

"""Starting and stopping a Mesos: ports, signals, what is left behind, and which one is found."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import serenity
from serenity.localmesos.cluster.cluster import Cluster, ClusterError, ClusterOptions, find_mesos
from serenity.localmesos.cluster.real_mesos import RealMesos, free_port
from serenity.localmesos.containers import processes

IMPORTS = str(Path(serenity.__file__).resolve().parent.parent)


def of_sandboxes_in(work_dir: Path) -> set[int]:
    return processes.members(processes.snapshot(), None, f"MESOS_SANDBOX={work_dir}/".encode())


def localmesos(work_dir: Path, *arguments: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "serenity.localmesos", "--work-dir", str(work_dir), *arguments],
        env={**os.environ, "PYTHONPATH": IMPORTS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_it_says_what_it_is_and_when_it_is_ready(tmp_path):
    with localmesos(tmp_path, "--master-port", "0", "--agent-port", "0") as process:
        assert "not for production" in process.stdout.readline()
        assert process.stdout.readline().startswith("ready: master 127.0.0.1:")
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout.read() == ""


def test_a_port_in_use_is_one_line_and_exit_4(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = localmesos(tmp_path, "--master-port", str(port), "--agent-port", "0")
        output, errors = process.communicate(timeout=10)
    assert process.returncode == 4
    assert output == ""
    assert errors == f"cannot listen at 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("resources", ["cpus", "cpus:-1;mem:100", "cpus:1", "cpus:1;mem:x", ""])
def test_resources_that_make_no_sense_are_one_line_and_exit_2(tmp_path, resources):
    process = localmesos(tmp_path, "--master-port=0", "--agent-port=0", f"--resources={resources}")
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 2
    assert errors.startswith("--resources: ") and errors.count("\n") == 1


def test_stop_leaves_no_process(own_cluster, tools):
    scheduler = tools.scheduler(own_cluster)
    # Two that do not go by themselves: one ignores SIGTERM, one left session and tree.
    stubborn = scheduler.run("trap '' TERM; (setsid sleep 1000 &); while :; do sleep 0.1; done")
    scheduler.update(stubborn, "TASK_RUNNING")
    work_dir = own_cluster.options.work_dir / "agent"
    tools.eventually(lambda: len(of_sandboxes_in(work_dir)) >= 3)
    own_cluster.stop()
    assert not of_sandboxes_in(work_dir)
    own_cluster.stop()  # A second time is no error.


def test_stop_leaves_nothing_of_an_agent_that_was_killed(own_cluster, tools):
    scheduler = tools.scheduler(own_cluster)
    pid = scheduler.update(scheduler.run("exec sleep 1000"), "TASK_RUNNING")["container_status"]["executor_pid"]
    own_cluster.kill_agent()
    assert tools.alive(pid)
    own_cluster.stop()
    assert not tools.alive(pid)  # Nobody shut it down: it was swept.


def test_one_that_was_killed_goes_on_where_it_was(tmp_path, tools):
    """Master and agent at once: the agent recovers, and tells the master what it has."""
    ports = {f"{name}_port": free_port("127.0.0.1", 0) for name in ("master", "agent")}
    first = Cluster(ClusterOptions(tmp_path, **ports))
    first.start()
    scheduler = tools.scheduler(first)
    task = scheduler.run("exec sleep 1000")
    pid = scheduler.update(task, "TASK_RUNNING")["container_status"]["executor_pid"]
    os.kill(tools.listener(first.master), signal.SIGKILL)
    first.stop()
    assert tools.alive(pid)
    with Cluster(ClusterOptions(tmp_path, **ports)) as again:
        back = tools.scheduler(again, framework_id=scheduler.id)
        back.call("RECONCILE", reconcile={"tasks": []})
        assert back.update(task, "TASK_RUNNING")["reason"] == "REASON_RECONCILIATION"
        back.kill(task)
        back.update(task, "TASK_KILLED")
        tools.eventually(lambda: not tools.alive(pid))


def test_it_stops_when_its_starter_dies(tmp_path, tools):
    script = (
        "import os, sys, pathlib\n"
        "from serenity.localmesos.cluster.cluster import Cluster\n"
        "from serenity.localmesos.cluster.options import ClusterOptions\n"
        "cluster = Cluster(ClusterOptions(pathlib.Path(sys.argv[1])))\n"
        "cluster.start()\n"
        "print(cluster._backend._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    starter = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": IMPORTS}, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert starter.returncode == -signal.SIGKILL
    tools.eventually(lambda: not tools.alive(int(starter.stdout)), 10)


def test_a_port_in_use_is_said_before_anything_runs(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
            Cluster(ClusterOptions(tmp_path, agent_port=port)).start()
        with pytest.raises(ClusterError, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
            RealMesos(ClusterOptions(tmp_path, master_port=port), tmp_path).start()


# -- which Mesos ---------------------------------------------------------------------------


def fake_mesos(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_named_folder_prevails(tmp_path, monkeypatch):
    named = fake_mesos(tmp_path / "named", "mesos-master", "mesos-agent")
    other = fake_mesos(tmp_path / "other", "mesos-master", "mesos-agent")
    monkeypatch.setenv("SERENITY_MESOS_BIN", str(other))
    assert find_mesos(str(named)) == named
    assert find_mesos(None) == other
    monkeypatch.delenv("SERENITY_MESOS_BIN")
    monkeypatch.setenv("PATH", f"{named}:/usr/bin:/bin")
    assert find_mesos(None) == named
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_mesos(None) is None


def test_a_named_folder_without_the_binaries_is_an_error(tmp_path, monkeypatch):
    folder = fake_mesos(tmp_path / "half", "mesos-master")
    with pytest.raises(ClusterError, match=r"no mesos-agent in .*half \(--mesos-bin\)"):
        find_mesos(str(folder))
    monkeypatch.setenv("SERENITY_MESOS_BIN", str(tmp_path))
    with pytest.raises(ClusterError, match=r"no mesos-master and no mesos-agent in .* \(SERENITY_MESOS_BIN\)"):
        find_mesos(None)


# -- the real one alone --------------------------------------------------------------------


@pytest.fixture
def mesos_bin():
    return find_mesos(None) or pytest.skip("no mesos-master and mesos-agent")


@pytest.mark.real_mesos
def test_a_real_one_that_cannot_start_says_why(tmp_path, mesos_bin):
    with pytest.raises(ClusterError, match="mesos-agent ended: "):
        Cluster(ClusterOptions(tmp_path, mesos_bin, agent_flags={"isolation": "nonsense"})).start()
    assert not [p for p in processes.snapshot().values() if _runs_in(p.pid, tmp_path)]


def _runs_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False

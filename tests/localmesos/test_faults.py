"""The embedded Mesos fails on demand: by `Cluster`, and by commands on its standard input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import serenity
from serenity.localmesos.cluster.cluster import Cluster, ClusterError, ClusterOptions
from serenity.wire.transport import http

STATE = {"resource_version_uuid": {"value": "dAQTlKiJTZy4NumW1hurZA=="}}
IMPORTS = str(Path(serenity.__file__).resolve().parent.parent)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    with Cluster(ClusterOptions(tmp_path_factory.mktemp("fragile"))) as cluster:
        yield cluster


def status_of(address, path="/version"):
    return http.request(http.Endpoint.parse(address), "GET", path).status


@pytest.mark.parametrize("which", ["master", "agent"])
def test_it_answers_503_for_a_while(fragile, tools, which):
    scheduler = tools.scheduler(fragile)
    unavailable = {"master": fragile.master, "agent": fragile.agent}[which]
    available = {"master": fragile.agent, "agent": fragile.master}[which]
    fragile.unavailable(which, 0.5)
    started = time.monotonic()
    assert (status_of(unavailable), status_of(available)) == (503, 200)
    tools.eventually(lambda: status_of(unavailable) == 200)
    assert 0.4 < time.monotonic() - started < 5
    scheduler.offer()  # Its stream went on all the while.


def test_streams_of_one_kind_break(fragile, tools):
    scheduler, provider = tools.scheduler(fragile), tools.provider(fragile)
    provider.report(1, 256)
    fragile.drop_streams("provider")
    tools.eventually(lambda: "cpus_revocable" not in tools.get(fragile.agent, "/state")["resources"])
    back = tools.provider(fragile, provider_id=provider.id)
    assert back.id == provider.id
    task = scheduler.run("exec sleep 1000")
    scheduler.update(task, "TASK_RUNNING")
    fragile.drop_streams("scheduler")
    with pytest.raises(EOFError):
        scheduler.wait("ERROR")
    again = tools.scheduler(fragile, framework_id=scheduler.id)
    again.call("RECONCILE", reconcile={"tasks": []})
    assert again.update(task, "TASK_RUNNING")["reason"] == "REASON_RECONCILIATION"


def test_an_executor_whose_stream_breaks_comes_back(fragile, tools):
    scheduler = tools.scheduler(fragile)
    task = scheduler.run("exec sleep 1000")
    pid = scheduler.update(task, "TASK_RUNNING")["container_status"]["executor_pid"]
    fragile.drop_streams("executor")
    scheduler.kill(task)  # Maybe in between: then nobody hears it, as with a real agent.
    tools.eventually(lambda: scheduler.kill(task) or not scheduler.silent("UPDATE", 0.2))
    assert scheduler.update(task, "TASK_KILLED")["source"] == "SOURCE_EXECUTOR"
    assert tools.eventually(lambda: not tools.alive(pid))


def test_all_streams_break(fragile, tools):
    scheduler, provider = tools.scheduler(fragile), tools.provider(fragile)
    fragile.drop_streams()
    with pytest.raises(EOFError):
        scheduler.wait("ERROR")
    tools.eventually(lambda: provider.post("UPDATE_STATE", provider.stream.id, update_state=STATE).status == 400)


@pytest.mark.parametrize(
    "ask, complaint",
    [
        (
            lambda cluster: cluster.drop_streams("nobody"),
            "no streams of 'nobody'; there are scheduler, executor, provider",
        ),
        (lambda cluster: cluster.unavailable("nobody", 1), "'nobody' is neither master nor agent"),
        (lambda cluster: cluster.start_agent(), "the agent is running"),
    ],
)
def test_a_fault_that_makes_no_sense(fragile, ask, complaint):
    with pytest.raises(ClusterError, match=complaint):
        ask(fragile)


def test_a_real_one_has_no_such_faults(tmp_path):
    cluster = Cluster(ClusterOptions(tmp_path, mesos_bin=tmp_path))
    with pytest.raises(ClusterError, match="real Mesos"):
        cluster.drop_streams("scheduler")
    with pytest.raises(ClusterError, match="real Mesos"):
        cluster.unavailable("agent", 1.0)


def test_without_a_mesos_there_is_nothing_to_fail(tmp_path):
    with pytest.raises(ClusterError, match="does not run"):
        Cluster(ClusterOptions(tmp_path)).kill_agent()


def test_a_mesos_that_died_is_no_riddle(tmp_path, tools):
    with Cluster(ClusterOptions(tmp_path)) as cluster:
        os.kill(tools.listener(cluster.master), signal.SIGKILL)
        with pytest.raises(ClusterError, match=r"the embedded Mesos has ended; see .*mesos\.log"):
            cluster.kill_agent()


def test_commands_by_hand(tmp_path):
    """What the help says."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "serenity.localmesos", "--control", "--work-dir", tmp_path,
         "--master-port=0", "--agent-port=0"],
        env={**os.environ, "PYTHONPATH": IMPORTS}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.readline()
        agent = process.stdout.readline().split()[-1]

        def ask(line):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        assert ask('{"command": "kill_agent"}') == {"ok": True}
        with pytest.raises(http.Unreachable):
            status_of(agent)
        assert ask('{"command": "start_agent"}') == {"ok": True}
        assert status_of(agent) == 200
        assert ask("nonsense")["error"].startswith("JSON is malformed")
        assert ask('{"command": "dance"}')["error"].startswith("no command 'dance'; there are kill_agent, ")
        process.stdin.close()
        assert process.wait(10) == 0

"""The sampler over real processes and cgroups, and an agent that says what the test wants."""

from __future__ import annotations

import contextlib
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from serenity.daemon.clock import SystemClock
from serenity.framework.estimators.task import EstimatorTemplate
from serenity.qos.frame import BEST_EFFORT, COLUMNS, PRODUCTION
from serenity.qos.sources.draft import Draft, Faults
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.places import Places
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.roster import Roster
from serenity.qos.sources.run_delay import RunDelay
from serenity.qos.sources.sampler import Sampler
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.state import AgentReader
from serenity.wire.messages.node import TaskOnNode
from serenity.wire.transport.http import HttpError
from tests.answering import Answering
from tests.manual_clock import ManualClock
from tests.polling import eventually

BURN = "while True: pass"
MIB = 1 << 20


class Agent:
    """An agent's /state and /containers."""

    def __init__(self):
        self.executors: list[dict] = []
        self.pids: dict[str, int] = {}
        self.broken = False
        self.server = Answering(self._answer)
        self.asked, self.address = self.server.asked, self.server.address

    def _answer(self, path, _):
        return 503 if self.broken else 200, self.state() if path == "/state" else self.containers()

    def state(self):
        return {
            "id": "agent-1",
            "hostname": "h7",
            "version": "1.11.0",
            "pid": "slave(1)@127.0.0.1:5051",
            "resources": {"cpus": 4.0, "mem": 4096.0},
            "frameworks": [{"id": "F", "name": "web", "executors": self.executors}],
        }

    def containers(self):
        return [
            {"framework_id": "F", "executor_id": each["id"], "container_id": each["container"],
             "status": {"executor_pid": self.pids[each["container"]]}}
            for each in self.executors if each["container"] in self.pids
        ]  # fmt: skip

    def run(self, name, pid, *, revocable=False, labels=(), cpus=1.0, container=None, ports="[]", **task):
        suffix = "_revocable" if revocable else ""
        container = container or f"container-{name}"
        self.executors.append(
            {
                "id": name,
                "container": container,
                "resources": {f"cpus{suffix}": cpus, f"mem{suffix}": 512.0},
                "tasks": [
                    {
                        "id": f"{name}.1",
                        "name": name,
                        "labels": [{"key": k, "value": v} for k, v in dict(labels).items()],
                        "resources": {"ports": ports},
                        **task,
                    }
                ],
            }
        )
        if pid is not None:
            self.pids[container] = pid


@pytest.fixture
def agent():
    made = Agent()
    yield made
    made.server.close()


@pytest.fixture
def start():
    """Starts Python code as the leader of a session."""
    started = []

    def start(code):
        started.append(subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True))
        return started[-1].pid

    yield start
    for each in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)
        each.wait()


@pytest.fixture
def sampler(agent):
    samplers = []

    def make(**more):
        clock = SystemClock()
        roster = Roster(AgentReader(agent.address), clock)
        roster.ask()
        roster.ask()  # For the processes.
        samplers.append(Sampler(roster, clock, **more))
        return samplers[-1], roster

    yield make
    for each in samplers:
        each.close()


def value(frame, container, column):
    index = frame.index(container)
    assert index is not None
    return frame.column(column)[index]


def test_production_and_best_effort_by_their_processes(agent, start, sampler):
    agent.run("busy", start(BURN))
    agent.run("idle", start("import time; time.sleep(60)"))
    agent.run("starting", None)
    agent.run("be", start(BURN), revocable=True)
    made, _ = sampler()
    first = made.sample(100.0)
    assert [(each.id, each.role) for each in first.containers] == [
        ("container-busy", PRODUCTION),
        ("container-idle", PRODUCTION),
        ("container-starting", PRODUCTION),
        ("container-be", BEST_EFFORT),
    ]
    assert np.isnan(first.column("cpu")).all()  # A rate needs two readings.
    time.sleep(0.5)
    frame = made.sample(101.0)
    busy = frame.containers[0]
    assert (busy.job, busy.framework, busy.executor, busy.task) == ("busy", "web", "busy", "busy.1")
    assert (busy.cpus, busy.mem_bytes) == (1.0, 512 * MIB)
    # Two of them burn, on a machine that others may use as well.
    assert 0.1 < value(frame, "container-busy", "cpu") <= 1.2
    assert 0.1 < value(frame, "container-be", "cpu") <= 1.2
    assert value(frame, "container-idle", "cpu") < 0.1
    assert np.isnan(value(frame, "container-starting", "cpu"))
    assert 1 * MIB < value(frame, "container-idle", "rss_bytes") < 200 * MIB
    assert 0 <= value(frame, "container-busy", "run_delay") <= 2
    assert frame.node.cpus == 4.0
    assert frame.readings["held_cpus"] == 1.0
    assert frame.readings["held_mem_bytes"] == 512 * MIB
    assert 0 <= frame.readings["agent_age_s"] < 5
    assert 0 < frame.readings["mem_used_bytes"] < frame.readings["mem_total_bytes"]
    assert made.faults == {}


def test_frames_share_their_containers_until_the_agent_says_something_else(agent, sampler):
    agent.run("web", os.getpid(), cpus=1.0)
    agent.run("be", None, revocable=True)
    made, roster = sampler()
    first = made.sample(100.0)
    roster.ask()
    assert made.sample(101.0).containers is first.containers
    agent.executors[0]["resources"]["cpus"] = 2.0
    roster.ask()  # For the process that there is none of, in the place of what has changed.
    roster.ask()
    grown = made.sample(102.0).containers
    assert [each.cpus for each in grown] == [2.0, 1.0] and grown[1] == first.containers[1]
    task = TaskOnNode(task_id="t1", job="j", pid=os.getpid(), cpus=0.5, mem_bytes=MIB, started_at=0.0)
    made.declare("container-be", [task])
    assert [each.id for each in made.sample(103.0).containers] == ["container-web", "t1"]
    made.withdraw("container-be")
    assert [each.id for each in made.sample(104.0).containers] == ["container-web", "container-be"]


def test_a_best_effort_executor_is_replaced_by_the_tasks_that_it_declares(agent, start, sampler):
    agent.run("executor", start("import time; time.sleep(60)"), revocable=True)
    made, _ = sampler()
    burning = TaskOnNode(task_id="t1", job="crunch", pid=start(BURN), cpus=0.5, mem_bytes=MIB, started_at=0.0)
    resting = TaskOnNode(
        task_id="t2", job="rest", pid=start("import time; time.sleep(60)"), cpus=0.25, mem_bytes=MIB, started_at=0.0
    )
    made.declare("container-executor", [burning, resting])
    made.sample(0.0)
    time.sleep(0.3)
    frame = made.sample(1.0)
    assert [(each.id, each.role, each.job, each.cpus) for each in frame.containers] == [
        ("t1", BEST_EFFORT, "crunch", 0.5),
        ("t2", BEST_EFFORT, "rest", 0.25),
    ]
    assert {each.container for each in frame.containers} == {"container-executor"}
    assert value(frame, "t1", "cpu") > 0.1 > value(frame, "t2", "cpu")
    # What is held is what Mesos allocated, whatever the executor says.
    assert frame.readings["held_cpus"] == 1.0
    made.declare("container-executor", [])
    assert made.sample(2.0).containers == ()
    made.withdraw("container-executor")
    assert [each.id for each in made.sample(3.0).containers] == ["container-executor"]


def test_a_task_with_the_name_of_another_row_hides_none(agent, start, sampler, caplog):
    """Executors name their tasks as they like, and one may be production's container."""
    resting = start("import time; time.sleep(60)")
    agent.run("one", resting, revocable=True)
    agent.run("other", resting, revocable=True)
    agent.run("web", resting)
    made, _ = sampler()

    def task(name):
        return TaskOnNode(task_id=name, job="j", pid=resting, cpus=0.5, mem_bytes=MIB, started_at=0.0)

    made.declare("container-one", [task("t1"), task("container-web"), task("t1")])
    made.declare("container-other", [task("t1"), task("t2")])
    for t in range(2):
        rows = [(each.id, each.role, each.container) for each in made.sample(float(t)).containers]
        assert rows == [
            ("t1", BEST_EFFORT, "container-one"),
            ("t2", BEST_EFFORT, "container-other"),
            ("container-web", PRODUCTION, "container-web"),
        ]
    assert made.faults["task"] == 6
    assert caplog.text.count("executor one gave it another's name") == 2  # Once for each name.


def test_what_best_effort_has_of_regular_memory_is_not_held(agent, sampler):
    agent.run("be", os.getpid(), revocable=True, cpus=1.0)
    agent.executors[0]["resources"] = {"cpus_revocable": 1.0, "mem": 4096.0}
    frame = sampler()[0].sample(100.0)
    assert (frame.containers[0].role, frame.containers[0].mem_bytes) == (BEST_EFFORT, 4096 * MIB)
    assert (frame.readings["held_cpus"], frame.readings["held_mem_bytes"]) == (1.0, 0.0)


def test_an_estimator_on_regular_resources_is_nobodys_production(agent, sampler):
    task = EstimatorTemplate("serenity estimator").task_info("e.1", "S0", "http://h:5051", Resources({}))
    labels = {each["key"]: each["value"] for each in task["labels"]["labels"]}
    agent.run("serenity-estimator", os.getpid(), cpus=0.1, labels=labels)
    agent.run("web", os.getpid(), cpus=2.0)
    agent.run("be", None, revocable=True, labels=labels)
    frame = sampler()[0].sample(100.0)
    assert [each.id for each in frame.containers] == ["container-web", "container-be"], "best-effort cannot hide"
    assert frame.select(frame.production).allocated_cpus.sum() == 2.0


def test_the_applications_indicator_and_one_that_points_elsewhere(agent, sampler):
    served = 0

    class Memcached(socketserver.StreamRequestHandler):
        def handle(self):
            nonlocal served
            while self.rfile.readline():
                served += 100
                self.wfile.write(b"STAT cmd_get %d\r\nEND\r\n" % served)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Memcached) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        labels = {
            "serenity.sli.kind": "memcached",
            "serenity.sli.address": f"127.0.0.1:{server.server_address[1]}",
            "serenity.sli.metric": "cmd_get",
            "serenity.sli.as": "rate",
            "serenity.sli.unit": "ops/s",
        }
        ports = "[1-3, {0}-{0}]".format(server.server_address[1])
        agent.run("cache", os.getpid(), labels=labels, ports=ports)
        agent.run("spy", os.getpid(), labels={**labels, "serenity.sli.address": "10.9.8.7:11211"}, ports=ports)
        # The port of somebody else: here the agent's own.
        agent.run("thief", os.getpid(), labels={**labels, "serenity.sli.address": agent.address}, ports=ports)
        asked = len(agent.asked)
        made, _ = sampler()
        made.sample(0.0)
        time.sleep(0.2)
        frame = made.sample(1.0)
        server.shutdown()
    cache, spy, thief = frame.containers
    assert cache.indicator is not None
    assert (cache.indicator.name, cache.indicator.unit) == ("cmd_get", "ops/s")
    assert 100 < value(frame, cache.id, "sli") <= 500  # 100 in some 0.2 s.
    assert spy.indicator is None
    assert np.isnan(value(frame, spy.id, "sli"))
    assert (thief.indicator, np.isnan(value(frame, thief.id, "sli"))) == (None, True)
    assert set(agent.asked[asked:]) <= {"/state", "/containers"}
    assert made.faults["sli"] == 4


def test_one_containers_failing_reading_leaves_the_others_alone(agent, start, sampler):
    agent.run("gone", 2**22 - 1)
    agent.run("well", start(BURN))
    made, _ = sampler()
    made.sample(0.0)
    time.sleep(0.2)
    frame = made.sample(1.0)
    assert np.isnan(value(frame, "container-gone", "cpu"))
    assert value(frame, "container-well", "cpu") > 0.05
    assert np.isfinite(value(frame, "container-well", "run_delay"))
    assert (made.faults["cpu"], made.faults["run_delay"]) == (2, 2)


def test_an_agent_that_does_not_answer_leaves_the_last_known_rows(agent, start, sampler):
    agent.run("web", start("import time; time.sleep(60)"))
    made, roster = sampler()
    agent.broken = True
    with pytest.raises(HttpError):
        roster.ask()
    frame = made.sample(0.0)
    assert [each.id for each in frame.containers] == ["container-web"]


def test_before_the_agent_has_said_anything_there_is_an_empty_frame(agent):
    clock = SystemClock()
    frame = Sampler(Roster(AgentReader(agent.address), clock), clock).sample(0.0)
    assert len(frame) == 0
    assert "agent_age_s" not in frame.readings


def test_the_agent_is_asked_for_statistics_only_when_a_pid_is_new(agent, sampler):
    agent.run("a", os.getpid())
    _, roster = sampler()
    roster.ask()
    assert agent.asked == ["/state", "/containers", "/state"]
    agent.run("b", os.getpid())
    assert [each.pid for each in roster.ask().containers] == [os.getpid(), None]
    assert [each.pid for each in roster.ask().containers] == [os.getpid()] * 2
    assert agent.asked[3:] == ["/state", "/containers"]


def test_the_roster_goes_on_by_itself(agent):
    roster = Roster(AgentReader(agent.address), SystemClock(), interval_s=0.02)
    roster.start()
    agent.broken = True
    deadline = time.monotonic() + 10
    while roster.failures < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    agent.broken = False
    while roster.latest is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    roster.stop()
    assert roster.latest.identity.ip == "127.0.0.1"


def test_run_delay_beyond_the_budget_is_measured_in_turn(agent, start, sampler):
    for name in ("a", "b", "c"):
        agent.run(name, start("import time; time.sleep(60)"))
    made, _ = sampler(max_readings=2)
    measured: dict[str, int] = dict.fromkeys(("container-a", "container-b", "container-c"), 0)
    for t in range(8):
        frame = made.sample(float(t))
        time.sleep(0.01)
        for name in measured:
            measured[name] += bool(np.isfinite(value(frame, name, "run_delay")))
    assert all(count >= 2 for count in measured.values()), measured


def test_a_kernel_without_run_delay_is_told_once(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text("")
    faults = Faults()
    files = KeptFiles(FileBudget())
    clock = ManualClock()
    residents = Residents(clock, Places(tmp_path), files, tmp_path)
    source = RunDelay(clock, faults, files, residents, proc=tmp_path)
    for _ in range(3):
        source.read(Draft([], lambda: pytest.fail("no need to look")))
    assert [each.message for each in caplog.records] == ["this kernel tells no run delay (no CONFIG_SCHED_INFO)"]


def v1(controller):
    return Path("/sys/fs/cgroup") / controller


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or not (v1("cpuacct") / "cgroup.procs").exists() or not (v1("memory") / "cgroup.procs").exists(),
    reason="needs root and cgroup v1 with cpuacct and memory",
)
def test_a_containers_own_cgroups(agent, start, sampler):
    container = str(uuid.uuid4())
    folders = [v1(each) / container for each in ("cpuacct", "cpu", "memory")]
    for folder in folders:
        folder.mkdir()
    # Memory stays charged to the cgroup it was allocated in: not before it is in ours.
    boxed = f"while ':memory:/{container}' not in open('/proc/self/cgroup').read(): pass\n"
    first, second = start(boxed + "x = bytearray(30 << 20)\nwhile True: pass"), start(BURN)
    try:
        for folder in folders:
            # The second is no descendant of the first: only the cgroup knows that it belongs here.
            for pid in (first, second):
                (folder / "cgroup.procs").write_text(str(pid))
        agent.run("boxed", first, container=container)
        made, _ = sampler()
        deadline = time.monotonic() + 10
        while int((v1("memory") / container / "memory.usage_in_bytes").read_text()) < 30 * MIB:
            assert time.monotonic() < deadline, "it has not allocated its memory"
            time.sleep(0.02)
        began_s, used_ns = time.monotonic(), v1("cpuacct") / container / "cpuacct.usage"
        made.sample(0.0)
        before = int(used_ns.read_text())
        eventually(lambda: int(used_ns.read_text()) > before + 3e8, "CPU time that is used")
        frame = made.sample(1.0)
        # On a busy machine that has taken any time.
        assert value(frame, container, "cpu") * (time.monotonic() - began_s) >= 0.3
        assert 30 * MIB <= value(frame, container, "rss_bytes") < 300 * MIB
        assert value(frame, container, "throttled") == 0.0
        assert np.isfinite(value(frame, container, "run_delay"))
        assert made.faults == {}
    finally:
        for pid in (first, second):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        for folder in folders:
            while True:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)


def test_every_column_is_in_the_documentation():
    text = (Path(__file__).parents[3] / "docs/sources.md").read_text()
    assert [name for name in COLUMNS if f"`{name}`" not in text] == []

"""What the agent and Docker say: Mesos' own counters, pids of Docker tasks, and how often they are asked."""

from __future__ import annotations

import itertools
import math
import socket
import time

import pytest

from serenity.daemon.clock import SystemClock
from serenity.qos.frame import PRODUCTION, Container
from serenity.qos.sources import docker
from serenity.qos.sources.agent_perf import AgentPerf
from serenity.qos.sources.draft import Draft, Row
from serenity.qos.sources.processes import ProcessTable
from serenity.qos.sources.roster import Roster
from serenity.qos.sources.sampler import Sampler
from serenity.wire.mesos.state import AgentIdentity, AgentLook, AgentReader, PerfSample
from tests.answering import Answering
from tests.manual_clock import ManualClock
from tests.polling import eventually

PERF = {"timestamp": 1000.0, "duration": 10.0, "cycles": 3e10, "instructions": 6e10, "cache_misses": 5e6}


class Agent:
    """Read endpoints that count how often they are asked."""

    def __init__(self):
        self.tasks = [{"id": "t", "name": "web"}]
        self.perf = None
        self.pid = 42
        self.server = Answering(lambda path, _: (200, self.state() if path == "/state" else self.containers()))
        self.asked = self.server.asked
        self.reader = AgentReader(self.server.address)

    def state(self):
        executor = {"id": "e", "container": "C", "resources": {"cpus": 1.0, "mem": 64.0}, "tasks": self.tasks}
        return {
            "id": "A",
            "pid": "slave(1)@127.0.0.1:5051",
            "flags": {"perf_events": "cycles"} if self.perf else {},
            "resources": {"cpus": 4.0, "mem": 4096.0},
            "frameworks": [{"id": "F", "executors": [executor]}],
        }

    def containers(self):
        statistics = {"perf": self.perf} if self.perf else {}
        status = {"executor_pid": self.pid} if self.pid else {}
        return [
            {
                "framework_id": "F",
                "executor_id": "e",
                "container_id": "C",
                "status": status,
                "statistics": statistics,
            }
        ]


@pytest.fixture
def agent():
    made = Agent()
    yield made
    made.server.close()


# --- statistics.perf ---


def filled(source, perf):
    row = Row(Container("c", PRODUCTION, "c", 1.0, 0.0), 1, perf=perf)
    draft = Draft([row], lambda: ProcessTable(()))
    source.read(draft)
    frame = draft.frame(0.0, None)
    return {name: float(values[0]) for name, values in frame.columns.items() if math.isfinite(values[0])}


def test_each_sample_of_the_agents_is_in_one_frame():
    source = AgentPerf(ManualClock(1015.0))
    counts = {name: value for name, value in PERF.items() if name not in ("timestamp", "duration")}
    sample = PerfSample(1000.0, 10.0, counts)
    assert filled(source, sample) == {"cycles": 3e9, "instructions": 6e9, "llc_misses": 5e5}
    assert filled(source, sample) == {}
    assert filled(source, PerfSample(1010.0, 2.0, {"cycles": 1e9, "llc_load_misses": 4.0})) == {
        "cycles": 5e8,
        "llc_misses": 2.0,
    }
    assert filled(source, None) == {}


def test_a_sample_from_long_ago_is_not_now():
    source = AgentPerf(ManualClock(1041.0))
    assert filled(source, PerfSample(1000.0, 10.0, {"cycles": 1.0})) == {}


def test_the_agents_statistics_are_asked_for_seldom(agent):
    agent.perf = PERF
    clock = ManualClock()
    roster = Roster(agent.reader, clock)
    for _ in range(25):
        look = roster.ask()
        clock.advance(1.0)
    assert look.containers[0].perf.counts["cycles"] == 3e10
    assert len(agent.asked) == 25
    assert [i for i, path in enumerate(agent.asked) if path == "/containers"] == [1, 12, 23]  # For its pid, and then.


def test_statistics_that_make_no_sense_cost_no_look(agent):
    agent.perf = {"duration": 10.0, "cycles": "many"}
    clock = ManualClock()
    roster = Roster(agent.reader, clock)
    for _ in range(25):
        look = roster.ask()
        clock.advance(1.0)
    assert (look.containers[0].pid, look.containers[0].perf) == (42, None)
    assert agent.asked.count("/containers") == 3


def test_an_agent_that_samples_nothing_is_asked_for_a_pid_only(agent):
    clock = ManualClock()
    roster = Roster(agent.reader, clock)
    for _ in range(25):
        roster.ask()
        clock.advance(1.0)
    assert agent.asked.count("/containers") == 1


def test_the_agent_gets_one_request_a_second_at_most(agent):
    agent.pid = None  # It is still being launched: its process is asked for again and again.
    clock = ManualClock()
    roster = Roster(agent.reader, clock)
    ages_s = []
    for _ in range(6):
        look = roster.ask()
        ages_s.append(clock.monotonic_s() - look.asked_at_s)
        clock.advance(1.0)
    assert agent.asked == ["/state", "/containers"] * 3
    assert ages_s == [0.0, 1.0] * 3, "who is there was said before their processes were"


def test_between_two_requests_of_its_thread_an_interval_passes(agent):
    agent.pid = None
    times_s = []
    state, containers = agent.state, agent.containers

    def noting(answer):
        times_s.append(time.monotonic())
        return answer()

    agent.state, agent.containers = lambda: noting(state), lambda: noting(containers)
    roster = Roster(agent.reader, SystemClock(), interval_s=0.05)
    roster.start()
    eventually(lambda: len(times_s) >= 6, "six requests")
    roster.stop()
    # However late the thread runs: it begins to wait when it has the answer.
    assert min(later - earlier for earlier, later in itertools.pairwise(times_s)) >= 0.045


class Unsound:
    """A reader that fails in ways that nobody has thought of, until it is mended."""

    def __init__(self):
        self.asked, self.mended = 0, False

    def look(self, before):
        self.asked += 1
        if self.mended:
            return AgentLook(AgentIdentity("a", "h7", "1.11.0", 8.0, 1 << 33), ())
        raise ZeroDivisionError


def test_what_nobody_has_thought_of_is_said_once_and_the_next_word_is_taken(caplog):
    reader = Unsound()
    roster = Roster(reader, SystemClock(), interval_s=0.01)
    roster.start()
    eventually(lambda: reader.asked >= 3, "asked again and again")
    reader.mended = True
    look = eventually(lambda: roster.latest, "the agent's word")
    roster.stop()
    assert look.identity.agent_id == "a" and roster.failures >= 3
    assert [each.levelname for each in caplog.records].count("ERROR") == 1


# --- Docker ---


@pytest.fixture
def daemon(tmp_path):
    """A Docker daemon's socket; `answers` by path."""
    answers, socket = {}, tmp_path / "docker.sock"
    with Answering(lambda path, _: answers.get(path, (404, {"message": "No such container"})), socket):
        yield socket, answers


def test_the_pid_of_a_docker_task_is_the_daemons_word(agent, daemon):
    socket, answers = daemon
    agent.pid = None
    agent.tasks = [{"id": "t", "name": "web", "container": {"type": "DOCKER"}}]
    clock = ManualClock()
    roster = Roster(agent.reader, clock, docker_socket=socket)
    assert roster.ask().containers[0].pid is None  # It is still being made.
    answers["/containers/mesos-C/json"] = (200, {"State": {"Pid": 0}})
    assert roster.ask().containers[0].pid is None
    answers["/containers/mesos-C/json"] = (200, {"State": {"Pid": 4711}})
    (container,) = roster.ask().containers
    assert (container.pid, container.docker) == (4711, True)
    answers.clear()
    assert roster.ask().containers[0].pid == 4711  # It is remembered.
    assert agent.asked == ["/state"] * 4  # The agent would not know.


@pytest.mark.parametrize(
    "answer", [(500, {}), (200, {}), (200, []), (200, {"State": {"Pid": "x"}}), (200, {"State": {"Pid": math.inf}})]
)
def test_a_daemon_that_makes_no_sense(daemon, answer):
    socket, answers = daemon
    answers["/containers/mesos-C/json"] = answer
    with pytest.raises(docker.DockerError):
        docker.pid_of("C", socket)


def test_without_docker_its_containers_are_counted_told_once_and_the_rest_goes_on(agent, tmp_path, caplog):
    agent.pid = None
    agent.tasks = [{"id": "t", "name": "web", "container": {"type": "DOCKER"}}]
    roster = Roster(agent.reader, ManualClock(), docker_socket=tmp_path / "none.sock")
    sampler = Sampler(roster, ManualClock())
    for t in range(3):
        assert roster.ask().containers[0].pid is None
        frame = sampler.sample(float(t))
        assert (frame.ids, sampler.faults) == (["C"], {"docker": t + 1})
    sampler.close()
    assert caplog.text.count("docker of C cannot be read") == 1 and "none.sock" in caplog.text


def test_a_daemon_that_hangs_is_waited_for_once_a_look(agent, tmp_path, monkeypatch):
    """Two seconds for each of its containers would leave all others unseen meanwhile."""
    monkeypatch.setattr(docker, "_TIMEOUT_S", 0.2)
    state = agent.state()
    (executor,) = state["frameworks"][0]["executors"]
    tasks = [{"id": "t", "name": "web", "container": {"type": "DOCKER"}}]
    state["frameworks"][0]["executors"] = [
        executor | {"id": f"e{i}", "container": f"C{i}", "tasks": tasks} for i in range(5)
    ]
    agent.state = lambda: state
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "docker.sock"))
        silent.listen(9)
        look = Roster(agent.reader, ManualClock(), docker_socket=tmp_path / "docker.sock").ask()
        assert set(look.unresolved) == {f"C{i}" for i in range(5)}
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()

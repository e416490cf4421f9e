"""Two executors on one node, real processes over the real node socket: one contention is one executor's to end."""

from __future__ import annotations

import math
import threading
import time

import msgspec
import numpy as np
import pytest

from serenity.estimator.node_server import NodeServer
from serenity.executor.guarding.accusations import Accusations, accusation
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Indicator, Node
from serenity.wire.messages import node
from tests.executor.conftest import RunningExecutor
from tests.executor.guarded import WEB, finding
from tests.executor.made_up_agent import AGENT_ID, FakeAgent
from tests.manual_clock import ManualClock
from tests.polling import eventually

PROTECTED = Container(
    "web-c1", PRODUCTION, "web", 1.0, 1e9, "prod", "web.e", "web.1", "web-c1", Indicator("ops", "1/s", "higher")
)
# Sees only what nothing is left of.
BLIND = """
[[qos.detectors]]
name = "drop"
threshold = 0.99
[qos.strategy]
name = "cpu_share"
"""
# Who uses most is suspected first.
SEEING = BLIND.replace("0.99", "0.25")
SETTINGS = {"watch_s": 60.0, "recover_s": 0.4}


class Estimator:
    """The real node server; production suffers once `hurts` is set.  `use`: cores by best-effort row."""

    def __init__(self, run_dir):
        self.declared: dict[str, dict[str, node.TaskOnNode]] = {}  # By container.
        self.leases: list[node.Lease] = []
        self.use: dict[str, float] = {}
        self.strangers: tuple[str, ...] = ()  # Rows of executors that are not ours.
        self.hurts = threading.Event()
        self._t = time.time()
        self._ended = threading.Event()
        self._server = NodeServer(node.socket_path(AGENT_ID, run_dir), self, lambda: None)
        self._server.start()
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._server.stop()

    def _publish(self):
        while not self._ended.wait(0.1):
            self._t += 1.0
            sample = node.Sample(frame=self._frame(self._t, self.hurts.is_set()).to_json())
            self._server.publish(node.encode_line(sample))

    def _frame(self, t, hurt):
        rows = [
            Container(task, BEST_EFFORT, "job", 0.5, 1e8, "be", "e", task, container)
            for container, tasks in self.declared.items()
            for task in tasks
        ]
        rows += [Container(each, BEST_EFFORT, each, 0.5, 1e8, "spark", "e", "", each) for each in self.strangers]
        cpu = [0.8, *(self.use.get(each.id, 0.3) for each in rows)]
        granted = 0.4 if hurt else 0.95
        wait = [0.8 / granted - 0.8, *(0.1 for _ in rows)]
        sli = [40.0 if hurt else 100.0, *(math.nan for _ in rows)]
        columns = {"cpu": np.array(cpu), "run_delay": np.array(wait), "sli": np.array(sli)}
        return Frame(t, (PROTECTED, *rows), columns, Node(cpus=4.0, mem_bytes=8e9))

    def greeting(self):
        welcome = node.encode_line(node.Welcome(agent_id=AGENT_ID, hostname="h7", interval_s=1.0))
        past = tuple(self._frame(self._t - 60 + n, False).to_json() for n in range(60))
        return iter((welcome, node.encode_line(node.History(frames=past))))

    def tasks(self, hello, tasks):
        self.declared[hello.container_id] = {each.task_id: each for each in tasks.tasks}

    def gone(self, hello):
        self.declared.pop(hello.container_id, None)

    def lease(self, lease):
        self.leases.append(lease)

    def release(self, release): ...


@pytest.fixture
def estimator(tmp_path):
    (tmp_path / "run").mkdir()
    made = Estimator(tmp_path / "run")
    yield made
    made.stop()


@pytest.fixture
def executors(tmp_path, estimator):
    """Makes an executor that runs one task, with a pipeline; returns its agent."""
    running = []

    def start(task, pipeline):
        agent, sandbox = FakeAgent(), tmp_path / task
        sandbox.mkdir()
        file = sandbox / "pipeline.toml"
        file.write_text(pipeline)
        running.append((agent, RunningExecutor(agent, sandbox, tmp_path / "run", pipeline=file, **SETTINGS)))
        agent.launch(task, "sleep", "60")
        eventually(lambda: task in estimator.declared.get(agent.container_id, {}), f"{task} is known")
        return agent

    yield start
    for agent, executor in running:
        executor.stop()
        agent.stop()
        print(executor.log.read_text())


def test_the_owner_of_the_top_suspect_acts_by_the_others_word_where_it_sees_nothing_itself(
    executors, estimator, tmp_path
):
    watching, owner = executors("calm", SEEING), executors("noisy", BLIND)
    estimator.use = {"calm": 0.6, "noisy": 0.9}
    estimator.start()
    time.sleep(0.3)
    assert owner.corrections() == watching.corrections() == []
    estimator.hurts.set()
    told = eventually(owner.corrections, "the owner corrects its task")
    assert [(each.action, each.task, each.protected, each.cause) for each in told] == [
        ("throttle", "noisy", "web.1", told[0].cause)
    ]
    assert watching.corrections() == []  # Though its own task uses a good deal, and it was the one that saw.

    estimator.hurts.clear()  # What is not said again is forgotten.
    log = tmp_path / "noisy" / "executor.log"
    eventually(lambda: "recovered after" in log.read_text(), "it is over for the owner too")


def test_two_that_see_the_same_contention_do_not_both_act(executors, estimator):
    innocent, owner = executors("calm", SEEING), executors("noisy", SEEING)
    estimator.use = {"calm": 0.6, "noisy": 0.9}
    estimator.start()
    estimator.hurts.set()
    eventually(owner.corrections, "the owner corrects its task")
    leases = len(estimator.leases)
    eventually(lambda: len(estimator.leases) > leases + 10, "both have gone on for a while")
    assert {each.task for each in owner.corrections()} == {"noisy"}
    assert innocent.corrections() == []


def test_a_suspect_that_nobody_here_runs_is_a_closed_valve_and_a_hint_once(executors, estimator):
    ours = executors("calm", SEEING)
    estimator.use, estimator.strangers = {"calm": 0.6, "spark-1": 0.9}, ("spark-1",)
    estimator.start()
    estimator.hurts.set()
    eventually(ours.corrections, "people are told")
    leases = len(estimator.leases)
    eventually(lambda: len(estimator.leases) > leases + 10, "the valve stays closed")
    (hint,) = ours.corrections()
    assert (hint.action, hint.task, hint.protected) == ("hint", "spark-1", "web.1")
    assert 0.0 < hint.severity <= 1.0
    assert "spark-1 of spark is suspected first" in hint.outcome


# --- whose word counts ---


def told(accusations, by, task, ttl_s=None):
    message = accusation(finding((task, 1.0)).suspects[0].container, finding((task, 1.0), ("foreign-x", 0.9)))
    if ttl_s is not None:
        message = msgspec.structs.replace(message, ttl_s=ttl_s)
    accusations.received(node.Accused(by=by, accusation=message))


@pytest.fixture
def accusations():
    return Accusations(ManualClock(1000.0), "m")


def tops(found):
    return [each.suspects[0].container.id for each in found]


def test_an_accusation_is_a_finding_like_our_own(accusations):
    told(accusations, "a", "ours")
    (found,) = accusations.with_own([], {"ours"})
    assert found.contention.protected.task == WEB.task and found.contention.cause == "cpu"
    assert found.contention.evidence == finding(("ours", 1.0)).contention.evidence
    assert tops([found]) == ["ours"] and found.suspects[0].score == 1.0


@pytest.mark.parametrize(("by", "top"), [("a", "ours"), ("z", "foreign-1")])
def test_of_two_that_accuse_each_other_the_lesser_one_counts(accusations, by, top):
    told(accusations, by, "ours")
    assert tops(accusations.with_own([finding(("foreign-1", 1.0))], {"ours"})) == [top]


def test_our_own_word_on_our_own_task_needs_no_other(accusations):
    told(accusations, "a", "ours-2")
    assert tops(accusations.with_own([finding(("ours", 1.0))], {"ours", "ours-2"})) == ["ours"]


def test_what_is_said_of_a_task_that_is_not_ours_any_more_is_nothing(accusations):
    told(accusations, "a", "ours")
    assert accusations.with_own([], {"another"}) == []


def test_it_counts_for_its_time_and_no_longer_than_half_a_minute():
    clock = ManualClock(1000.0)
    accusations = Accusations(clock, "m")
    told(accusations, "a", "ours", ttl_s=1e9)
    clock.advance(29.0)
    assert tops(accusations.with_own([], {"ours"})) == ["ours"]
    clock.advance(2.0)
    assert accusations.with_own([], {"ours"}) == []


def test_who_was_absolved_is_not_accused_again_of_the_same(accusations):
    accusations.absolved(WEB.id)
    told(accusations, "a", "ours")
    assert accusations.with_own([], {"ours"}) == []
    assert tops(accusations.with_own([finding(("ours", 1.0))], {"ours"})) == ["ours"]


def test_a_cause_of_a_later_version_is_left_alone(accusations, caplog):
    message = accusation(finding(("ours", 1.0)).suspects[0].container, finding(("ours", 1.0)))
    for by, cause in (("a", "gravity"), ("a", "gravity"), ("b", "gravity"), ("a", "tides")):
        unknown = msgspec.structs.replace(message, cause=cause)
        accusations.received(node.Accused(by=by, accusation=unknown))
    assert accusations.with_own([], {"ours"}) == []
    assert caplog.messages == [
        f"{by} accuses ours of '{cause}', which this version does not know"
        for by, cause in (("a", "gravity"), ("b", "gravity"), ("a", "tides"))
    ]

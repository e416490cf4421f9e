"""The whole loop on real processes: frames in, throttles and evictions out, the record complete."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import threading
import time

import numpy as np
import pytest

from serenity.executor.tasks import processes
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Indicator, Node
from serenity.wire.messages.kill_record import KillRecord
from serenity.wire.messages.node import Lease, Overcommitment, Release, qos_off_file
from serenity.wire.messages.statistics import KnownJobs
from tests.polling import eventually

WEB = Container(
    "web-c1", PRODUCTION, "web", 1.0, 1e9, "prod", "web.e", "web.1", "web-c1", Indicator("ops", "1/s", "higher")
)
FAST = {"watch_s": 0.4, "recover_s": 0.4, "hold_s": 60.0}
BURNER = ("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do :; done")


def frame(t, sli, granted, tasks):
    """`tasks`: cores by task id."""
    rows = (WEB, *(Container(each, BEST_EFFORT, "job", 0.5, 1e8, task=each) for each in tasks))
    cpu = [0.8, *tasks.values()]
    wait = [0.8 / granted - 0.8, *(0.1 for _ in tasks)]
    none = [math.nan] * len(tasks)
    columns = {"cpu": np.array(cpu), "run_delay": np.array(wait), "sli": np.array([sli, *none])}
    return Frame(t, rows, columns, Node(cpus=4.0, mem_bytes=8e9))


class Production(threading.Thread):
    """Sends a frame a tick: production is well while `hurts` says no; `use` says each task's cores."""

    def __init__(self, estimator, use, hurts):
        super().__init__(daemon=True)
        self.estimator, self.use, self.hurts = estimator, use, hurts
        self.t = time.time()
        estimator.history = tuple(frame(self.t - 60 + i, 100.0, 0.95, {}).to_json() for i in range(60))
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.1):
            self.t += 1.0
            hurt = self.hurts(self.estimator.tasks)
            shown = {task: self.use.get(task, lambda: 0.3)() for task in self.estimator.tasks}
            self.estimator.send(frame(self.t, 40.0 if hurt else 100.0, 0.4 if hurt else 0.95, shown))


@pytest.fixture
def production(estimator):
    started = []

    def start(use, hurts):
        started.append(Production(estimator, use, hurts))
        return started[-1]

    yield start
    for each in started:
        each.ended.set()


def runs(agent, task="noisy"):
    """Whether it is not frozen, by what the executor has told."""
    done = [each.action for each in agent.corrections() if each.task == task]
    return not done or done[-1] != "freeze"


def test_a_noisy_task_goes_down_the_ladder_and_is_evicted_with_a_complete_record(
    start, agent, estimator, production, labels
):
    """Production suffers from it, however little of it there is, and is well while it is frozen."""
    use = {"noisy": lambda: 0.9 if runs(agent) else 0.0, "harmless": lambda: 0.01}
    load = production(use, lambda tasks: "noisy" in tasks and runs(agent))
    executor = start(**{**FAST, "hold_s": 0.5})
    agent.launch("noisy", *BURNER, job_name="crunch", attempt=3)
    agent.launch("harmless", "sleep", "60")
    eventually(lambda: len(estimator.tasks) == 2, "the estimator knows both")
    load.start()

    killed = agent.wait_for("noisy", "TASK_KILLED")
    record = KillRecord.decode(base64.b64decode(killed["data"]))
    assert (killed["reason"], killed["message"]) == ("REASON_CONTAINER_PREEMPTED", record.line())
    assert record.line().startswith("killed by QoS on h7: prod/web.1 ops 40 vs 100 baseline")
    assert labels(killed).items() >= {
        ("serenity.kill.id", record.id),
        ("serenity.kill.cause", "cpu"),
        ("serenity.reason", "QOS_CPU"),
    }
    check_that_it_says_who_and_why(record)
    check_that_it_says_what_was_tried(record)
    check_what_the_framework_was_told(agent, record)
    check_the_journal(executor.sandbox / "journal.jsonl", record, agent)
    eventually(lambda: any(isinstance(each, Release) for each in estimator.heard), "the valve is let go")
    assert any(isinstance(each, Lease) for each in estimator.heard)
    assert [each["state"] for each in agent.updates("harmless")] == ["TASK_RUNNING"]


def test_the_framework_is_told_what_jobs_do_and_may_tell_what_the_cluster_knows(start, agent, estimator, production):
    load = production({}, lambda tasks: False)
    executor = start(**FAST)
    agent.launch("calm", "sleep", "60")
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    said = eventually(agent.statistics, "a minute of the frames' time has passed")[0]
    web = next(each for each in said.jobs if each.job == "web")
    assert (web.role, web.framework, web.containers, web.cpus) == ("production", "prod", 1, pytest.approx(0.8, rel=0.1))
    assert web.slo is not None and (web.slo.indicator, web.slo.now) == ("ops", 100.0)
    for data in ("bm8=", KnownJobs(cpu_type=said.cpu_type, jobs={}).encode()):
        agent.say({"type": "MESSAGE", "message": {"data": data}})
    eventually(lambda: "does not understand" in executor.log.read_text(), "nonsense is said to be such")
    agent.launch("later", "true")
    agent.wait_for("later", "TASK_FINISHED")


def check_that_it_says_who_and_why(record):
    assert (record.agent.id, record.agent.hostname) == ("agent-S0", "h7")
    assert (record.killed.task, record.killed.job, record.killed.attempt) == ("noisy", "crunch", 3)
    assert (record.killed.resources.cpus, record.killed.resources.mem_bytes) == (0.5, 1 << 26)
    assert record.killed.ran_for_s > 0 and record.decided_at > 0
    assert (record.reason, record.cause) == ("QOS_CPU", "cpu")
    protected = record.protected
    assert (protected.framework, protected.task, protected.container) == ("prod", "web.1", "web-c1")
    assert (record.signal.name, record.signal.observed, record.signal.baseline) == ("ops", 40.0, pytest.approx(100.0))
    assert record.signal.deviation == pytest.approx(-0.6)
    assert record.window.samples >= 2 and record.window.end > record.window.start
    assert record.detector.name == "interference" and record.detector.parameters
    assert record.selection.strategy == "combined"
    first = record.selection.candidates[0]
    assert first.task == "noisy"
    assert first.parts.keys() == {"onset", "present", "correlation", "history"}
    assert sum(first.parts.values()) == pytest.approx(first.score, abs=1e-3)


def check_that_it_says_what_was_tried(record):
    assert [step.action for step in record.ladder] == [
        "throttle to 0.45 cores",
        "throttle to 0.11 cores",
        "freeze",
        "thaw to 0.11 cores",
        "evict",
    ]
    assert all("no recovery in" in each.outcome for each in record.ladder[:2])
    assert record.ladder[0].outcome.startswith(("cpu quota", "duty cycle"))
    assert "recovered after" in record.ladder[2].outcome and "contention came back" in record.ladder[3].outcome
    assert record.ladder[4].outcome == "ended on SIGTERM"
    assert (record.graceful, record.exit.code) == (True, 0)


def check_what_the_framework_was_told(agent, record):
    told = [each for each in agent.corrections() if each.task == "noisy"]
    assert [each.action for each in told] == ["throttle", "throttle", "freeze", "throttle", "evict"]
    assert {(each.protected, each.cause) for each in told} == {("web.1", "cpu")}
    outcome = eventually(agent.outcomes, "the eviction's outcome follows")[0]
    assert (outcome.task, outcome.record, outcome.action) == ("noisy", record.id, "evict")
    assert outcome.outcome.startswith("recovered after")


def check_the_journal(path, record, agent):
    def lines(kind):
        written = [json.loads(each) for each in path.read_text().splitlines(keepends=True) if each.endswith("\n")]
        return [each for each in written if each["type"] == kind]

    steps = [each.action for each in record.ladder]
    eventually(lambda: [each["action"] for each in lines("outcome")] == steps, "each step's outcome is written")
    told = [each.action for each in agent.corrections() if each.task == "noisy"]
    assert [each["action"] for each in lines("correction")] == told
    assert [each["record"]["id"] for each in lines("kill")] == [record.id]


def test_words_of_others_however_long_do_not_keep_a_record_from_being_made(
    start, agent, estimator, production, monkeypatch
):
    long = Container(
        "web-c1", PRODUCTION, "web", 1.0, 1e9, "f" * 9000, "e" * 9000, "t" * 9000, "c" * 9000,
        Indicator("i" * 9000, "u" * 9000, "higher"),
    )  # fmt: skip
    monkeypatch.setitem(globals(), "WEB", long)
    load = production({"noisy": lambda: 0.9}, lambda tasks: "noisy" in tasks)
    start(**FAST)
    agent.launch("noisy", *BURNER)
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    killed = agent.wait_for("noisy", "TASK_KILLED")
    record = KillRecord.decode(base64.b64decode(killed["data"]))
    assert record.reason == "QOS_CPU"
    assert record.protected.task.startswith("ttt")
    assert len(killed["message"]) < 2000
    agent.launch("next", "true")
    agent.wait_for("next", "TASK_FINISHED", "TASK_FAILED")


def test_during_a_contention_launches_are_refused_and_then_taken_again(start, agent, estimator, production, labels):
    hurting = threading.Event()
    hurting.set()
    load = production({"noisy": lambda: 0.9}, lambda tasks: hurting.is_set())
    start(**{**FAST, "watch_s": 60.0})
    agent.launch("noisy", *BURNER)
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    eventually(agent.corrections, "it is throttled")
    agent.launch("late", "true")
    refused = agent.wait_for("late", "TASK_FAILED")
    assert labels(refused)["serenity.reason"] == "LAUNCH_REFUSED"
    hurting.clear()
    eventually(lambda: any(isinstance(each, Release) for each in estimator.heard), "the contention is over")
    agent.launch("later", "true")
    agent.wait_for("later", "TASK_FINISHED")


def test_a_throttled_task_is_let_go_at_the_end_of_the_executor(start, agent, estimator, production):
    load = production({"noisy": lambda: 0.9}, lambda tasks: True)
    executor = start(**{**FAST, "watch_s": 60.0})
    agent.launch("noisy", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    eventually(agent.corrections, "it is throttled")
    agent.shutdown()
    assert executor.wait() == 0
    assert "bye" in executor.output("noisy")
    assert executor.cgroups() == []


def test_what_the_slack_does_not_hold_any_more_is_taken_from_all_and_given_back(start, agent, estimator):
    start(**FAST, step_s=0.05)
    for task in ("a", "b"):
        agent.launch(task, *BURNER)
    eventually(lambda: len(estimator.tasks) == 2, "the estimator knows both")
    sent = {"t": time.time()}

    def tick(over_cpus):
        """A frame, while best-effort holds one cpu; what the executor has told so far."""
        sent["t"] += 1.0
        made = frame(sent["t"], 100.0, 0.95, {"a": 0.9, "b": 0.9})
        estimator.send(dataclasses.replace(made, readings={"held_cpus": 1.0}), Overcommitment(cpus=over_cpus))
        time.sleep(0.05)
        return agent.corrections()

    eventually(lambda: len(tick(0.5)) == 2, "both are limited")
    assert {(each.action, each.task, each.cause, each.protected) for each in agent.corrections()} == {
        ("throttle", task, "overload", "slack") for task in ("a", "b")
    }
    assert all("0.25 of 0.90 cores" in each.outcome for each in agent.corrections())  # Half of what was allocated.
    eventually(lambda: len(tick(0.0)) == 4, "both are let go")
    assert [each.action for each in agent.corrections()[2:]] == ["release", "release"]


def test_dry_run_says_what_it_would_do_and_does_nothing(start, agent, estimator, production):
    load = production({"noisy": lambda: 0.9}, lambda tasks: True)
    start(**FAST, dry_run=True)
    agent.launch("noisy", "sleep", "60")
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    told = eventually(lambda: agent.corrections()[3:] and agent.corrections(), "all corrections were told")
    assert [(each.action, each.outcome, each.dry_run) for each in told[:4]] == [
        ("throttle", "would be throttled to 0.45 cores", True),
        ("throttle", "would be throttled to 0.11 cores", True),
        ("freeze", "would be frozen", True),
        ("evict", "would be evicted", True),
    ]
    pid = estimator.tasks["noisy"].pid
    assert processes.read(pid).state == "S"
    assert [each["state"] for each in agent.updates("noisy")] == ["TASK_RUNNING"]
    assert not any(isinstance(each, Lease) for each in estimator.heard)
    agent.launch("late", "sleep", "60")
    agent.wait_for("late", "TASK_RUNNING")  # And is not refused.


def test_with_qos_off_nothing_is_corrected(start, agent, estimator, production):
    load = production({"noisy": lambda: 0.9}, lambda tasks: True)
    start(**FAST, qos=False)
    agent.launch("noisy", "sleep", "60")
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    began = load.t
    eventually(lambda: load.t > began + 15, "fifteen frames have been sent")
    assert agent.corrections() == []
    assert not any(isinstance(each, Lease) for each in estimator.heard)


def test_the_operator_switches_corrections_off_and_on(start, agent, estimator, production, tmp_path):
    switch = qos_off_file(tmp_path / "run")
    load = production({"noisy": lambda: 0.9}, lambda tasks: True)
    start(**{**FAST, "watch_s": 60.0})
    agent.launch("noisy", *BURNER)
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    eventually(agent.corrections, "it is throttled")
    switch.touch()
    eventually(lambda: len(agent.corrections()) == 2, "it is let go")
    switch.unlink()
    eventually(lambda: len(agent.corrections()) == 3, "it is throttled again")
    assert [each.action for each in agent.corrections()] == ["throttle", "release", "throttle"]


def test_the_estimator_is_told_who_runs_and_found_again(start, agent, estimator, tmp_path):
    executor = start(qos=False)
    agent.launch("t1", "sleep", "60", cpus=0.25)
    told = eventually(lambda: estimator.tasks.get("t1"), "it is told of t1")
    assert (told.job, told.cpus, told.mem_bytes) == ("job", 0.25, 1 << 26)
    assert processes.read(told.pid).session == told.pid
    hello = estimator.heard[0]
    assert (hello.container_id, hello.pid) == (agent.container_id, executor.pid)

    estimator.hang_up()
    eventually(lambda: estimator.heard.count(hello) == 2, "it comes again")
    eventually(lambda: "t1" in estimator.tasks, "and says again who runs")
    agent.kill("t1")
    eventually(lambda: estimator.tasks == {}, "nobody runs any more")

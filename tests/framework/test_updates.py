"""What Mesos' status updates are taken to mean."""

from __future__ import annotations

import base64

import pytest

from serenity.framework.jobs.job import Attempt, Ended, Seen
from serenity.framework.jobs.views import kill_line
from serenity.framework.mesos.updates import decode
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.kill_record import LABEL_REASON, Agent, Killed, KillRecord, TaskResources
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_end import TaskEnd

S = AttemptState
RECORD = KillRecord(
    id="k1",
    decided_at=1.0,
    agent=Agent(id="S0", hostname="h7"),
    killed=Killed(task="j.0.1", job="j", attempt=1, ran_for_s=1.0, resources=TaskResources(cpus=1.0, mem_bytes=1)),
    reason="QOS_MEMORY",
)


def status(state, **fields):
    return {"task_id": {"value": "j.0.1"}, "agent_id": {"value": "S0"}, "state": state, **fields}


def ending(state, **fields):
    event = decode(status(state, **fields)).event
    assert isinstance(event, Ended)
    return event.ending


@pytest.mark.parametrize("state", ["TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"])
def test_what_an_attempt_has_used_comes_with_its_end(state):
    used = TaskEnd(exit_code=3, cpu_s=1.5, peak_mem_bytes=1 << 20)
    labels = [{"key": key, "value": value} for key, value in used.to_labels().items()]
    assert ending(state, labels={"labels": labels}).measured == used


@pytest.mark.parametrize("value", ["", "-1", "nan", "a lot", "9" * 40])
def test_a_measurement_that_makes_no_sense_is_none(value):
    labels = [{"key": f"serenity.{name}", "value": value} for name in ("cpu_s", "peak_mem_bytes", "exit_code")]
    measured = ending("TASK_FAILED", labels={"labels": labels}).measured
    assert measured is None or (measured.peak_mem_bytes, measured.exit_code) == (None, None)


def test_running_brings_the_container_of_the_sandbox():
    container = {"container_id": {"value": "c1"}}
    assert decode(status("TASK_RUNNING", container_status=container)).event == Seen(S.RUNNING, "c1")


@pytest.mark.parametrize("state", ["TASK_STAGING", "TASK_STARTING"])
def test_not_yet_running_is_no_news(state):
    assert decode(status(state)).event is None


@pytest.mark.parametrize(
    ("state", "mesos_reason", "expected_state", "expected_reason"),
    [
        ("TASK_FINISHED", None, S.FINISHED, None),
        ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED", S.LOST, Reason.EXECUTOR_LOST),
        ("TASK_FAILED", "REASON_CONTAINER_LIMITATION_MEMORY", S.FAILED, Reason.MEMORY_LIMIT),
        ("TASK_GONE", "REASON_CONTAINER_UPDATE_FAILED", S.LOST, Reason.EXECUTOR_LOST),
        ("TASK_DROPPED", "REASON_INVALID_OFFERS", S.LOST, Reason.LAUNCH_REFUSED),
        ("TASK_DROPPED", "REASON_SLAVE_RESTARTED", S.LOST, Reason.LAUNCH_REFUSED),
        ("TASK_DROPPED", "REASON_SLAVE_REMOVED", S.LOST, Reason.AGENT_LOST),
        ("TASK_KILLED", "REASON_CONTAINER_PREEMPTED", S.KILLED, Reason.PREEMPTED_BY_MESOS),
        ("TASK_LOST", "REASON_RECONCILIATION", S.LOST, Reason.LOST),
        ("TASK_GONE", "REASON_RECONCILIATION", S.LOST, Reason.LOST),
        ("TASK_GONE_BY_OPERATOR", "REASON_SLAVE_REMOVED_BY_OPERATOR", S.LOST, Reason.AGENT_LOST),
        ("TASK_ERROR", "REASON_TASK_INVALID", S.FAILED, Reason.LAUNCH_FAILED),
        ("TASK_FAILED", None, S.FAILED, None),
        ("TASK_KILLED", None, S.KILLED, None),
    ],
)
def test_what_mesos_says_without_the_executor(state, mesos_reason, expected_state, expected_reason):
    said = ending(state, **({"reason": mesos_reason} if mesos_reason else {}))
    assert (said.state, said.reason) == (expected_state, expected_reason)


def test_resources_that_somebody_else_got_first_are_nobodys_fault():
    message = "Total resources cpus:1 required by task and its executor is more than available cpus:0.5"
    said = ending("TASK_ERROR", reason="REASON_TASK_INVALID", message=message)
    assert (said.state, said.reason, said.avoid_s) == (S.LOST, Reason.LAUNCH_REFUSED, 0.0)


def test_the_executors_label_counts_more_than_mesos_reason():
    labels = {"labels": [{"key": LABEL_REASON, "value": "QOS_CPU"}]}
    said = ending("TASK_KILLED", reason="REASON_CONTAINER_PREEMPTED", labels=labels, source="SOURCE_EXECUTOR")
    assert (said.state, said.reason, said.avoid_s) == (S.KILLED, Reason.QOS_CPU, Reason.QOS_CPU.avoid_s)


def test_an_agent_that_refuses_is_avoided_a_stale_offer_says_nothing_about_it():
    labels = {"labels": [{"key": LABEL_REASON, "value": "LAUNCH_REFUSED"}]}
    assert ending("TASK_KILLED", labels=labels, source="SOURCE_EXECUTOR").avoid_s > 0
    assert ending("TASK_DROPPED", reason="REASON_INVALID_OFFERS", source="SOURCE_MASTER").avoid_s == 0


def test_the_record_is_kept_and_gives_the_reason():
    said = ending("TASK_KILLED", data=base64.b64encode(RECORD.encode()).decode())
    assert (said.record, said.reason) == (RECORD, Reason.QOS_MEMORY)


@pytest.mark.parametrize("data", ["!!!", base64.b64encode(b"no record").decode()])
def test_data_that_is_no_record_is_said_and_nothing_guessed(data):
    said = ending("TASK_KILLED", data=data, message="gone")
    assert said.record is None and said.reason is None
    assert said.message.startswith("gone; ")


@pytest.mark.parametrize(
    ("state", "doubtful"),
    [("TASK_UNKNOWN", True), ("TASK_FINISHED", True), ("TASK_KILLED", True), ("TASK_GONE", False)],
)
def test_which_answers_of_a_reconciliation_are_believed_at_once(state, doubtful):
    assert decode(status(state, reason="REASON_RECONCILIATION")).doubtful is doubtful
    assert decode(status(state)).doubtful is False


@pytest.mark.parametrize("state", ["TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_GONE"])
def test_what_the_master_tells_of_an_agent_that_came_back_waits_for_the_agents_own_word(state):
    """It has neither message nor labels: the task would be charged for what the executor's end did to it."""
    assert decode(status(state, reason="REASON_AGENT_REREGISTERED")).doubtful


def test_why_an_agent_refused_a_launch_is_shown_in_its_line():
    labels = {"labels": [{"key": LABEL_REASON, "value": "LAUNCH_REFUSED"}]}
    refused = ending("TASK_FAILED", source="SOURCE_EXECUTOR", labels=labels, message="the job names no user")
    attempt = Attempt("j", 0, 1, 0.0, 0.0, state=refused.state, ended_at=1.0, ending=refused)
    assert kill_line(attempt).endswith("took no new best-effort task just then (the job names no user)")


def test_a_message_is_what_any_database_takes():
    assert ending("TASK_FAILED", message="a\0b\ud800c ä").message == "a\ufffdb?c ä"

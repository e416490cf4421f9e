"""One session on every Mesos: what both sides say is valid and complete, and the embedded one sounds as the real."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters import KINDS, cluster_options, last_words
from tests.messages.recording import Line, Recording
from tests.messages.schema import Schema
from tests.messages.session import RESOURCES, record

# What there is to be said and heard.  A session without one of these would prove less than it seems to.
CALLS = {
    *(f"scheduler call {each}" for each in ("SUBSCRIBE", "ACCEPT", "DECLINE", "ACKNOWLEDGE", "KILL", "RECONCILE")),
    *(f"scheduler call {each}" for each in ("REVIVE", "SUPPRESS", "MESSAGE", "SHUTDOWN", "TEARDOWN")),
    "executor call SUBSCRIBE",
    "executor call MESSAGE",
    "executor call UPDATE TASK_RUNNING SOURCE_EXECUTOR",
    "executor call UPDATE TASK_KILLING SOURCE_EXECUTOR",
    "executor call UPDATE TASK_KILLED SOURCE_EXECUTOR",
    "executor call UPDATE TASK_KILLED SOURCE_EXECUTOR REASON_CONTAINER_PREEMPTED",
    "executor call UPDATE TASK_FAILED SOURCE_EXECUTOR",
    *(f"provider call {each}" for each in ("SUBSCRIBE", "UPDATE_STATE", "UPDATE_PUBLISH_RESOURCES_STATUS")),
}
EVENTS = {
    *(
        f"scheduler event {each}"
        for each in ("SUBSCRIBED", "HEARTBEAT", "OFFERS", "RESCIND", "MESSAGE", "FAILURE", "ERROR")
    ),
    "scheduler event UPDATE TASK_STARTING SOURCE_EXECUTOR",
    "scheduler event UPDATE TASK_RUNNING SOURCE_EXECUTOR",
    "scheduler event UPDATE TASK_KILLING SOURCE_EXECUTOR",
    "scheduler event UPDATE TASK_KILLED SOURCE_EXECUTOR",
    "scheduler event UPDATE TASK_KILLED SOURCE_EXECUTOR REASON_CONTAINER_PREEMPTED",
    "scheduler event UPDATE TASK_FINISHED SOURCE_EXECUTOR",
    "scheduler event UPDATE TASK_FAILED SOURCE_EXECUTOR",
    "scheduler event UPDATE TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED",
    "scheduler event UPDATE TASK_RUNNING SOURCE_MASTER REASON_RECONCILIATION",
    "scheduler event UPDATE TASK_UNKNOWN SOURCE_MASTER REASON_RECONCILIATION",
    "scheduler event UPDATE TASK_DROPPED SOURCE_MASTER REASON_INVALID_OFFERS",
    "scheduler event UPDATE TASK_ERROR SOURCE_MASTER REASON_TASK_INVALID",
    *(f"executor event {each}" for each in ("SUBSCRIBED", "LAUNCH", "KILL", "ACKNOWLEDGED", "MESSAGE", "SHUTDOWN")),
    *(f"provider event {each}" for each in ("SUBSCRIBED", "PUBLISH_RESOURCES")),
}

Play = Callable[[str], Recording]


@pytest.fixture(scope="module")
def play() -> Play:
    """Plays the session on one kind of Mesos, once however often it is asked for."""
    played: dict[str, Recording] = {}

    def play(kind: str) -> Recording:
        if kind not in played:
            played[kind] = _play(kind)
        return played[kind]

    return play


def _play(kind: str) -> Recording:
    # Not pytest's folder: its path is too long for a Unix socket.
    work_dir = Path(tempfile.mkdtemp(prefix="serenity-"))
    try:
        recording = record(cluster_options(kind, work_dir, resources=RESOURCES))
    except pytest.skip.Exception:
        work_dir.rmdir()
        raise
    except BaseException:
        print(f"kept: {work_dir}\n{last_words(sorted(work_dir.glob('*.log')))}", file=sys.stderr)
        raise
    shutil.rmtree(work_dir)
    return recording


@pytest.fixture(scope="module", params=KINDS)
def recording(request: pytest.FixtureRequest, play: Play) -> Recording:
    return play(request.param)


@pytest.mark.slow
def test_everything_is_said_and_heard(recording: Recording) -> None:
    heard = recording.kinds
    assert CALLS - heard == set() == EVENTS - heard


def test_every_call_and_every_event_is_valid(recording: Recording, schema: Schema) -> None:
    wrong = {
        (line.kind, complaint)
        for line in said(recording)
        for complaint in schema.complaints(line.side, line.direction, line.body)
    }
    assert wrong == set()


def test_every_call_was_taken(recording: Recording) -> None:
    made = {f"{each.side} {each.body['type']}" for each in recording if each.direction == "call"}
    assert statuses(recording) == {each: {200 if each.endswith("SUBSCRIBE") else 202} for each in made}


def test_who_comes_back_says_who_it_was(recording: Recording) -> None:
    frameworks = [each for each in recording.of("scheduler", "call") if each["type"] == "SUBSCRIBE"]
    returned = [each for each in frameworks if "framework_id" in each]
    assert len(returned) == 3  # After SIGKILL, and both that took it over.
    assert all(each["subscribe"]["framework_info"]["id"] == each["framework_id"] for each in returned)

    first, second = [each for each in recording.of("provider", "call") if each["type"] == "SUBSCRIBE"]
    given, again = [each for each in recording.of("provider", "event") if each["type"] == "SUBSCRIBED"]
    assert "id" not in first["subscribe"]["resource_provider_info"]
    assert second["subscribe"]["resource_provider_info"]["id"] == given["subscribed"]["provider_id"]
    assert given == again


def test_an_executor_comes_back_with_what_was_not_acknowledged(recording: Recording) -> None:
    first, second = [each["subscribe"] for each in recording.of("executor", "call") if each["type"] == "SUBSCRIBE"]
    assert first == {"unacknowledged_tasks": [], "unacknowledged_updates": []}
    (task,) = second["unacknowledged_tasks"]
    statuses = [each["status"] for each in second["unacknowledged_updates"]]
    assert [each["task_id"] for each in statuses] == [task["task_id"]] * len(statuses) != []
    acknowledged = [
        each["acknowledged"]["uuid"] for each in recording.of("executor", "event") if "acknowledged" in each
    ]
    assert [each["uuid"] for each in statuses if acknowledged.count(each["uuid"]) != 1] == []


def test_a_stream_begins_as_mesos_begins_it(recording: Recording) -> None:
    kinds = [each.kind for each in recording]
    assert kinds.count("scheduler event HEARTBEAT") >= kinds.count("scheduler event SUBSCRIBED")
    answers = [each for each in recording if each.direction == "response" and each.body["type"] == "SUBSCRIBE"]
    assert {each.side for each in answers if "mesos-stream-id" in each.body["headers"]} == {"scheduler", "provider"}
    # What was not acknowledged is acknowledged to one who has subscribed.
    executors = [each.kind for each in recording if each.side == "executor" and each.direction != "response"]
    returned = len(executors) - executors[::-1].index("executor call SUBSCRIBE")
    assert executors[returned] == "executor event SUBSCRIBED"


def test_mesos_writes_out_the_defaults_of_what_it_hands_on(recording: Recording) -> None:
    told = [each["subscribed"] for each in recording.of("executor", "event") if each["type"] == "SUBSCRIBED"]
    variables = told[0]["executor_info"]["command"]["environment"]["variables"]
    assert {each["type"] for each in variables} == {"VALUE"}


@pytest.mark.slow
@pytest.mark.real_mesos
def test_the_embedded_mesos_sounds_as_the_real_one(play: Play) -> None:
    embedded, real = play("localmesos").shapes(), play("real").shapes()
    assert {kind for kind in embedded if kind not in real} == set() == {kind for kind in real if kind not in embedded}
    differences = {
        (kind, "real" if place in real[kind] else "embedded", place)
        for kind in real
        for place in embedded[kind] ^ real[kind]
    }
    assert differences == set()
    assert statuses(play("localmesos")) == statuses(play("real"))


def said(recording: Recording) -> Iterator[Line]:
    return (each for each in recording if each.direction in ("call", "event"))


def statuses(recording: Recording) -> dict[str, set[int]]:
    """With which HTTP statuses the calls of each side and type were answered."""
    found: dict[str, set[int]] = {}
    for each in recording:
        if each.direction == "response":
            found.setdefault(f"{each.side} {each.body['type']}", set()).add(each.body["status"])
    return found

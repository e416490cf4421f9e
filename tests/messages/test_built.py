"""What the builders make of odd input that a session does not have: it goes through the drivers, and must be valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serenity.executor import updates
from serenity.executor.tasks.task import Ending, Exit, Failure, Task
from serenity.framework.jobs.job import Job, first_attempt
from serenity.framework.mesos.calls import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    Call,
    Decline,
    Kill,
    Reconcile,
    Revive,
    Shutdown,
    Suppress,
)
from serenity.framework.mesos.scheduler import framework_info, make_call
from serenity.framework.mesos.task_info import ExecutorTemplate, task_info
from serenity.framework.settings import FrameworkSettings
from serenity.wire.mesos.executor import ExecutorDriver
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.messages import from_executor
from serenity.wire.messages.api import MIB, JobRequest
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.kill_record import Agent, Killed, KillRecord, TaskResources
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_spec import TaskSpec
from tests.messages.conftest import FRAMEWORK, PROVIDER, started_peer
from tests.messages.schema import Schema
from tests.messages.transcripts import few_shapes
from tests.polling import eventually
from tests.wire.conftest import Peer
from tests.wire.conftest import Recorder as Callbacks

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

text = st.text(max_size=30)
words = st.text(min_size=1, max_size=30)
amounts = st.floats(min_value=0, max_value=1e9)
requests = st.builds(
    JobRequest,
    command=st.lists(text, min_size=1, max_size=4).map(tuple),
    name=st.none() | st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"),
    cpus=st.floats(min_value=0.01, max_value=1024),
    mem_bytes=st.integers(min_value=MIB, max_value=16 * 1024 * 1024 * MIB),
    max_runtime_s=st.none() | st.floats(min_value=1e-9, max_value=366 * 86400),
    grace_s=st.floats(min_value=0, max_value=600),
    user=st.none() | words,
    env=st.dictionaries(words, text, max_size=4),
    labels=st.dictionaries(words, text, max_size=4),
)
templates = st.builds(
    ExecutorTemplate, framework_id=words, command=words, environment=st.dictionaries(words, text, max_size=4)
)
resources = st.builds(
    lambda provider, role, cpus, mem: Resources.from_json(
        [
            {
                "name": name,
                "type": "SCALAR",
                "scalar": {"value": amount},
                "revocable": {},
                "provider_id": {"value": provider},
                "allocation_info": {"role": role},
                "reservations": [{"type": "STATIC", "role": role}],
            }
            for name, amount in (("cpus", cpus), ("mem", mem))
        ]
    ),
    *(words, words, amounts, amounts),
)


@st.composite
def accepts(draw: st.DrawFn) -> Accept:
    """Launches as the core makes them."""
    request = draw(requests)
    msgspec.json.decode(msgspec.json.encode(request), type=JobRequest)  # The API would take it.
    job = Job(draw(words), request.name or "job", request, submitted_at=1.0)
    executor = draw(templates).info(draw(resources))
    attempt = first_attempt(job, draw(st.integers(0, 9999)))
    task = task_info(job, attempt, draw(words), draw(resources), executor)
    return Accept(tuple(draw(st.lists(words, min_size=1, max_size=3))), (task,), draw(amounts))


statuses = st.builds(
    lambda task, agent, uuid: {"task_id": {"value": task}, "agent_id": {"value": agent}, "uuid": uuid},
    *(words, words, st.just("AAAAAAAAAAAAAAAAAAAAAA==")),
)
calls = st.one_of(
    accepts(),
    st.builds(Decline, st.lists(words, min_size=1, max_size=3).map(tuple), amounts),
    st.builds(Acknowledge, statuses),
    st.builds(Kill, words, st.none() | words, st.none() | st.floats(0, 600)),
    st.builds(Reconcile, st.lists(st.tuples(words, st.none() | words), max_size=3).map(tuple)),
    st.builds(Shutdown, words, words),
    st.builds(AcceptInverseOffers, st.lists(words, min_size=1, max_size=3).map(tuple)),
    st.builds(Revive),
    st.builds(Suppress),
)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    yield from started_peer()


def subscribed(peer: Peer, driver: Any, side: str) -> Any:
    peer.greeting = few_shapes().events[side][0]
    driver.start()
    eventually(lambda: driver.subscribed, "the subscription")
    return driver


@pytest.fixture(scope="module")
def scheduler(peer: Peer) -> Iterator[SchedulerDriver]:
    driver = subscribed(peer, SchedulerDriver(Callbacks(), FRAMEWORK, peer.address), "scheduler")
    yield driver
    driver.stop()


@pytest.fixture(scope="module")
def executor(peer: Peer) -> Iterator[ExecutorDriver]:
    environ = {**few_shapes().environ, "MESOS_AGENT_ENDPOINT": peer.address}
    driver = subscribed(peer, ExecutorDriver(Callbacks(), environ), "executor")
    yield driver
    driver.stop()


@pytest.fixture(scope="module")
def provider(peer: Peer) -> Iterator[ProviderDriver]:
    driver = subscribed(peer, ProviderDriver(Callbacks(), peer.address, PROVIDER), "provider")
    yield driver
    driver.stop()


def complaints(schema: Schema, side: str, peer: Peer) -> list[str]:
    """About the last call that the peer got."""
    return schema.complaints(side, "call", peer.requests[-1].json)


@some
@given(call=calls)
def test_the_frameworks_calls(call: Call, scheduler: SchedulerDriver, peer: Peer, schema: Schema) -> None:
    make_call(scheduler, call)
    assert peer.requests[-1].type == re.sub("(?<=[a-z])(?=[A-Z])", "_", type(call).__name__).upper()
    assert complaints(schema, "scheduler", peer) == []


@some
@given(name=words, role=words, user=words, principal=st.none() | words, framework_id=st.none() | words, hostname=text)
def test_the_frameworks_description(schema: Schema, framework_id: str | None, hostname: str, **fields: Any) -> None:
    info = framework_info(FrameworkSettings(**fields), framework_id, hostname)
    call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
    assert schema.complaints("scheduler", "call", call) == []


@st.composite
def ended_tasks(draw: st.DrawFn) -> Task:
    """Of every way to end."""
    spec = TaskSpec(job_id="j", job_name=draw(words), instance=0, attempt=1, argv=("x",), cpus=0.1, mem_bytes=MIB)
    task = Task(draw(words), spec, 1.0, 1.0)
    code = draw(st.none() | st.integers(0, 255))
    task.exit = Exit(code, draw(st.integers(1, 64)) if code is None else None, draw(amounts))
    task.ending = Ending(draw(st.sampled_from(list(Reason))), 1.0, 1.0)
    return task


def record_of(task: Task, odd: str) -> KillRecord:
    assert task.ending is not None
    killed = Killed(task=task.id, job=odd, attempt=1, ran_for_s=1.0, resources=TaskResources(cpus=0.1, mem_bytes=1))
    return KillRecord(
        id=odd,
        decided_at=1.0,
        agent=Agent(id=odd, hostname=odd),
        killed=killed,
        reason=task.ending.reason.code,
        cause=odd,
    )


@some
@given(task=ended_tasks(), odd=text)
def test_the_executors_updates(task: Task, odd: str, executor: ExecutorDriver, peer: Peer, schema: Schema) -> None:
    for status in (
        updates.simple(task.id, "TASK_RUNNING"),
        updates.refused(task.id, Failure(Reason.LAUNCH_FAILED, odd)),
        updates.exited(task),
        updates.killed(task, record_of(task, odd)),
    ):
        executor.sendStatusUpdate(status)
        assert peer.requests[-1].type == "UPDATE"
        assert complaints(schema, "executor", peer) == []


@some
@given(odd=text, protected=st.none() | text)
def test_the_executors_messages(
    odd: str, protected: str | None, executor: ExecutorDriver, peer: Peer, schema: Schema
) -> None:
    correction = Correction(at=1.0, action="throttle", task=odd, outcome=odd, protected=protected)
    outcome = Outcome(at=1.0, action="evict", task=odd, outcome=odd, record=protected)
    for message in (correction, outcome):
        executor.sendFrameworkMessage(message.encode())
        assert peer.requests[-1].type == "MESSAGE"
        assert from_executor.decode(message.encode()) == message
    assert complaints(schema, "executor", peer) == []


@some
@given(role=st.none() | words, cpus=amounts, mem=amounts)
def test_the_estimators_totals(
    role: str | None, cpus: float, mem: float, provider: ProviderDriver, peer: Peer, schema: Schema
) -> None:
    provider.update_state(slack(role, cpus=cpus, mem=mem), new_version())
    assert peer.requests[-1].type == "UPDATE_STATE"
    assert complaints(schema, "provider", peer) == []

"""The framework's core alone: updates of one task, sent twice, in the wrong order, over restarts."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from serenity.framework.core import Core, CoreConfig
from serenity.framework.jobs.job import ENDED
from serenity.framework.mesos.calls import Accept, Acknowledge, Call, Kill
from serenity.framework.store.rows import Row
from serenity.wire.messages.api import JobRequest
from serenity.wire.messages.kill_record import LABEL_REASON
from tests.fuzz.disk import Disk
from tests.fuzz.examples import examples
from tests.fuzz.network import Json
from tests.fuzz.story import Story
from tests.manual_clock import ManualClock

CONFIG = CoreConfig("executor", {}, executor_cpus=0.1, executor_mem_mb=128.0, reconcile_every_s=600.0)
RUNNING = {"state": "TASK_RUNNING"}
ENDS = (
    {"state": "TASK_FINISHED"},
    {"state": "TASK_FAILED", "labels": {"labels": [{"key": LABEL_REASON, "value": "COMMAND_FAILED"}]}},
    {"state": "TASK_KILLED", "labels": {"labels": [{"key": LABEL_REASON, "value": "QOS_CPU"}]}},
    {"state": "TASK_FAILED", "reason": "REASON_EXECUTOR_TERMINATED"},
    {"state": "TASK_DROPPED", "reason": "REASON_INVALID_OFFERS"},
)


def offer(offer_id: str) -> Json:
    kind = {"revocable": {}, "provider_id": {"value": "p"}, "type": "SCALAR"}
    amounts = {"cpus": 4.0, "mem": 4096.0}
    return {
        "id": {"value": offer_id},
        "agent_id": {"value": "S0"},
        "hostname": "h",
        "resources": [{"name": name, "scalar": {"value": value}, **kind} for name, value in amounts.items()],
    }


def told(updates: list[Json], restarts: list[bool]) -> tuple[list[Row], list[Call]]:
    """What is stored of the instance, and the calls, after these updates of its first attempt."""
    clock = ManualClock(1_800_000_000.0)
    disk = Disk(Story(clock.now_s))
    calls: list[Call] = []
    core = Core(disk.load(), CONFIG, clock)

    def round_() -> None:
        done = core.end_round()
        disk.commit(done.changes)
        calls.extend(done.calls)

    core.subscription_began("F")
    job = core.submit(JobRequest(command=("true",), max_retries=1))
    round_()
    core.offered([offer("O")])
    round_()
    for update, restart in zip(updates, restarts, strict=True):
        if restart:
            core = Core(disk.load(), CONFIG, clock)
            core.subscription_began("F")
            round_()
        core.updated({"task_id": {"value": f"{job.id}.0.1"}, "agent_id": {"value": "S0"}, **update})
        round_()
    return list(disk.attempts.values()), calls


@examples(100, fuzzing=3000)
@given(
    st.sampled_from(ENDS),
    st.lists(st.integers(0, 1), max_size=6),
    st.permutations([0, 1]),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_updates_sent_twice_and_in_any_order_end_a_task_once(
    end: Json, again: list[int], order: list[int], restarts: list[bool]
) -> None:
    uuids = [base64.b64encode(bytes([n]) * 16).decode() for n in range(2)]
    news = [{**RUNNING, "uuid": uuids[0]}, {**end, "uuid": uuids[1]}]
    updates = [news[number] for number in [*order, *again]]
    rows, calls = told(updates, restarts[: len(updates)])
    expected, _ = told(news, [False, False])
    kept = ("number", "state", "is_current", "reason", "charged_before", "free_before", "retry")
    assert [[row[name] for name in kept] for row in rows] == [[row[name] for name in kept] for row in expected]
    assert rows[0]["state"] in ENDED
    assert [call.status["uuid"] for call in calls if isinstance(call, Acknowledge)] == [
        each["uuid"] for each in updates
    ]
    assert sum(isinstance(call, Accept) for call in calls) == 1
    late = len(updates) - 1 - [each["uuid"] for each in updates][::-1].index(uuids[0]) > updates.index(news[1])
    assert any(isinstance(call, Kill) for call in calls) == late, "what was given up and runs is killed"

"""The checker itself: it takes what a real Mesos was seen to send, and objects to every way of getting it wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.messages.recording import Recording
from tests.messages.schema import Schema
from tests.messages.transcripts import TRANSCRIPTS

ACCEPT = {
    "type": "ACCEPT",
    "framework_id": {"value": "f"},
    "accept": {
        "offer_ids": [{"value": "o"}],
        "operations": [
            {
                "type": "LAUNCH",
                "launch": {
                    "task_infos": [
                        {
                            "name": "task",
                            "task_id": {"value": "t"},
                            "agent_id": {"value": "a"},
                            "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "revocable": {}}],
                            "command": {"shell": True, "value": "true"},
                            "kill_policy": {"grace_period": {"nanoseconds": 5_000_000_000}},
                            "data": "aGk=",
                        }
                    ]
                },
            }
        ],
        "filters": {"refuse_seconds": 0.5},
    },
}
UPDATE = {
    "type": "UPDATE",
    "framework_id": {"value": "f"},
    "executor_id": {"value": "e"},
    "update": {
        "status": {
            "task_id": {"value": "t"},
            "state": "TASK_RUNNING",
            "source": "SOURCE_AGENT",
            "agent_id": {"value": "a"},
            "uuid": "AAAAAAAAAAAAAAAAAAAAAA==",
            "healthy": True,
        }
    },
}
CALLS: dict[str, Any] = {"scheduler": ACCEPT, "executor": UPDATE}


def test_well_formed_calls_are_taken(schema: Schema) -> None:
    for side, call in CALLS.items():
        assert schema.complaints(side, "call", call) == []
    for bare in ("REVIVE", "TEARDOWN"):
        assert schema.complaints("scheduler", "call", {"type": bare, "framework_id": {"value": "f"}}) == []


@pytest.mark.skipif(not TRANSCRIPTS.is_dir(), reason="no ../shared/mesos/transcripts beside the repository")
def test_all_that_a_real_mesos_sent_and_took_is_taken(schema: Schema) -> None:
    recorded = Recording.read(*TRANSCRIPTS.glob("*.jsonl"))
    # One line only says in words what was sent.
    lines = [each for each in recorded if each.direction in ("call", "event") and isinstance(each.body, dict)]
    assert len(lines) > 70
    assert [each for each in lines if schema.complaints(each.side, each.direction, each.body)] == []


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Sets what stands at a place such as ``accept.offer_ids.0``; None takes it away."""

    def change(message: Any) -> None:
        *way, last = [int(each) if each.isdigit() else each for each in path.split(".")]
        for each in way:
            message = message[each]
        if value is None:
            del message[last]
        else:
            message[last] = value

    return change


TASK = "accept.operations.0.launch.task_infos.0"
STATUS = "update.status"


@pytest.mark.parametrize(
    ("side", "change", "complaint"),
    [
        ("scheduler", put(f"{TASK}.lables", {"labels": []}), "TaskInfo has no such field"),
        ("scheduler", put(f"{TASK}.taskId", {"value": "t"}), "TaskInfo has no such field"),
        ("scheduler", put(f"{TASK}.slave_id", {"value": "a"}), "TaskInfo has no such field"),
        ("scheduler", put("accept.offers", []), "Accept has no such field"),
        ("scheduler", put(f"{TASK}.resources.0.type", "SCALER"), "Type has no 'SCALER'"),
        ("scheduler", put(f"{TASK}.resources.0.type", 0), "Type has no 0"),
        ("scheduler", put("type", "ACEPT"), "Type has no 'ACEPT'"),
        ("executor", put(f"{STATUS}.source", "SOURCE_SLAVE"), "Source has no 'SOURCE_SLAVE'"),
        ("scheduler", put(f"{TASK}.agent_id", None), "lacks accept.operations[0].launch.task_infos[0].agent_id"),
        ("scheduler", put(f"{TASK}.task_id", {}), "task_infos[0].task_id.value"),
        ("scheduler", put("type", None), "lacks type"),
        ("executor", put(f"{STATUS}.state", None), "lacks update.status.state"),
        ("executor", put("executor_id", None), "UPDATE without executor_id"),
        ("scheduler", put("framework_id", None), "ACCEPT without framework_id"),
        ("scheduler", put("accept", None), "ACCEPT without its body"),
        ("scheduler", put("decline", {"offer_ids": []}), "ACCEPT with the body decline"),
        ("scheduler", put(f"{TASK}.kill_policy.grace_period.nanoseconds", 5e9), "5000000000.0 is no integer"),
        ("scheduler", put(f"{TASK}.kill_policy.grace_period.nanoseconds", "5"), "'5' is no integer"),
        ("scheduler", put(f"{TASK}.kill_policy.grace_period.nanoseconds", True), "True is no integer"),
        ("scheduler", put(f"{TASK}.kill_policy.grace_period.nanoseconds", 1 << 63), "out of range"),
        ("scheduler", put("accept.filters.refuse_seconds", "0.5"), "'0.5' is no number"),
        ("scheduler", put("accept.filters.refuse_seconds", float("inf")), "inf is no number"),
        ("scheduler", put(f"{TASK}.command.shell", "true"), "'true' is neither true nor false"),
        ("scheduler", put(f"{TASK}.name", 7), "7 is no string"),
        ("scheduler", put(f"{TASK}.name", "\ud800"), "surrogate"),
        ("scheduler", put("accept.offer_ids", {"value": "o"}), "is no list"),
        ("scheduler", put(f"{TASK}.task_id", "t"), "'t' is no object"),
        ("scheduler", put(f"{TASK}.data", "hi there"), "'hi there' is no base64"),
        ("scheduler", put(f"{TASK}.data", "aGk"), "'aGk' is no base64"),
        ("executor", put(f"{STATUS}.uuid", "aGk="), "a uuid of 2 bytes"),
    ],
)
def test_a_mistake_is_named(schema: Schema, side: str, change: Callable[[Any], None], complaint: str) -> None:
    call = copy.deepcopy(CALLS[side])
    change(call)
    found = schema.complaints(side, "call", call)
    assert len(found) == 1 and complaint in found[0], found


def test_null_is_no_value(schema: Schema) -> None:
    call = json.loads(json.dumps(ACCEPT).replace('"aGk="', "null"))
    assert schema.complaints("scheduler", "call", call) == [
        "call.accept.operations[0].launch.task_infos[0].data: None is no string"
    ]

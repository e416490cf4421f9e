from __future__ import annotations

import json

import pytest

from serenity.wire.messages.task_spec import TaskSpec, TaskSpecError

SPEC = TaskSpec(
    job_id="j1", job_name="hello", instance=0, attempt=1, argv=("sh", "-c", "echo hi"), cpus=0.5, mem_bytes=1 << 20
)


def test_json_and_back() -> None:
    assert TaskSpec.decode(SPEC.encode()) == SPEC
    assert SPEC.grace_s == 5.0 and SPEC.max_runtime_s is None


def test_fields_of_a_newer_version_are_ignored_unless_it_says_that_they_matter() -> None:
    fields = json.loads(SPEC.encode())
    assert TaskSpec.decode(json.dumps({**fields, "colours": []}).encode()) == SPEC
    with pytest.raises(TaskSpecError, match="schema 3; this executor knows 1 and 2"):
        TaskSpec.decode(json.dumps({**fields, "schema": 3}).encode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"argv": []}, "the task has no command"),
        ({"argv": "sh"}, r"Expected `array`, got `str` - at `\$.argv`"),
        ({"mem_bytes": "1G"}, r"\$.mem_bytes"),
        ({"env": {"A": 1}}, r"\$.env"),
    ],
)
def test_the_field_that_is_wrong_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(TaskSpecError, match=message):
        TaskSpec.decode(json.dumps({**json.loads(SPEC.encode()), **change}).encode())


@pytest.mark.parametrize("data", [b"", b"hello", b"{}", b"\xff\xfe", b'{"job_id":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_what_is_no_task_description(data: bytes) -> None:
    with pytest.raises(TaskSpecError, match="no task description"):
        TaskSpec.decode(data)

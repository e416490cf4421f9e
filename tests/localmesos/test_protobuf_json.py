"""JSON as Mesos takes it for protobuf messages; that a real one does is in `test_refused_calls`."""

from __future__ import annotations

import math

import pytest

from serenity.localmesos.web.protobuf_json import NotAMessageError, message, parse
from serenity.localmesos.web.schema import ENUMERATIONS, MESSAGES

TASK = {"name": "t", "task_id": {"value": "1"}, "agent_id": {"value": "a"}}


def test_every_type_is_there():
    types = {field.partition(":")[2].partition("=")[0] for text in MESSAGES.values() for field in text.split()}
    known = {"string", "bytes", "double", "int", "bool", "any", *MESSAGES, *ENUMERATIONS}
    assert {each.replace("_", " ") for each in types} <= known


def test_what_is_unknown_or_null_or_empty_is_dropped():
    given = {**TASK, "nonsense": 1, "labels": None, "resources": []}
    assert message(given, "TaskInfo") == TASK


def test_defaults_are_filled_in():
    assert message({"value": "true"}, "CommandInfo") == {"value": "true", "shell": True}
    assert message({"user": "", "name": ""}, "FrameworkInfo")["failover_timeout"] == 0.0


def test_numbers_and_booleans_may_be_strings():
    assert message({"nanoseconds": "12"}, "Duration") == {"nanoseconds": 12}
    assert message({"refuse_seconds": "1.5"}, "Filters") == {"refuse_seconds": 1.5}
    assert message({"value": "Infinity"}, "Scalar") == {"value": math.inf}
    assert message({"shell": "false"}, "CommandInfo") == {"shell": False}


@pytest.mark.parametrize("number", ["NaN", "x", "", "true"])
def test_other_strings_are_no_numbers(number):
    with pytest.raises(NotAMessageError, match=f"Failed to parse '{number}' as a JSON number for field 'value'"):
        message({"value": number}, "Scalar")


def test_an_unknown_name_in_an_enumeration_counts_as_not_set():
    assert message({"type": "NOPE"}, "Capability") == {}
    with pytest.raises(NotAMessageError, match="Failed to find enum for 'NOPE'"):
        message({"task_id": {"value": "t"}, "state": "NOPE"}, "TaskStatus")


def test_one_element_may_stand_for_a_list_and_a_map_is_by_names():
    assert message({"roles": "a"}, "Roles") == {"roles": ["a"]}
    limits = {"cpus": {"value": 1, "nonsense": 2}}
    assert message({**TASK, "limits": limits}, "TaskInfo")["limits"] == {"cpus": {"value": 1.0}}


def test_all_that_is_missing_is_named_wherever_it_is():
    given = {"operations": [{}, {"launch": {"task_infos": [TASK, {"name": "t", "limits": {"cpus": {}}}]}}]}
    place = "operations[1].launch.task_infos[1]"
    missing = f"{place}.task_id, {place}.agent_id, {place}.limits.value"
    with pytest.raises(NotAMessageError) as refused:
        message(given, "Accept")
    assert str(refused.value) == f"Missing required fields: {missing}"


def test_of_several_errors_the_first_by_name_is_told():
    with pytest.raises(NotAMessageError, match="field 'name'"):
        message({"user": 1, "name": 1}, "FrameworkInfo")


def test_what_is_nested_too_deeply_is_refused():
    with pytest.raises(NotAMessageError, match="syntax error"):
        parse(b"[" * 100_000)

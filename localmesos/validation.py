"""What the master refuses in a launch, in Mesos' order and words (``src/master/validation.cpp``).  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serenity.wire.resources import Json, ResourceError, Resources


class InvalidTaskError(ValueError):
    """The task cannot be launched; the text is what the framework reads in TASK_ERROR."""


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """What a task is checked against."""

    framework_id: str
    agent_id: str
    task_ids: frozenset[str]  # Of the framework, alive.
    executors: Mapping[str, Json]  # ExecutorInfos of the framework that run on the agent, by id.
    offered: Resources  # What of the accepted offers is left.


def validate_task(task: Mapping[str, Any], context: LaunchContext) -> Resources:
    """Returns what the launch takes out of the offer: the task's resources, and a new executor's.

    Raises:
        InvalidTaskError
    """
    task_id = task["task_id"]["value"]
    _validate_id(task_id)
    if task_id in context.task_ids:
        raise InvalidTaskError(f"Task has duplicate ID: {task_id}")
    agent_id = task["agent_id"]["value"]
    if agent_id != context.agent_id:
        raise InvalidTaskError(f"Task uses invalid agent {agent_id} while agent {context.agent_id} is expected")
    grace = task.get("kill_policy", {}).get("grace_period", {}).get("nanoseconds", 0)
    if int(grace) < 0:
        raise InvalidTaskError("Task's 'kill_policy.grace_period' must be non-negative")
    if not task.get("resources"):
        raise InvalidTaskError("Task uses no resources")
    resources = _resources(task["resources"], "Task uses invalid resources")
    _refuse_mixture(resources, "Task mixes revocable and non-revocable resources")

    if ("executor" in task) == ("command" in task):
        raise InvalidTaskError("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
    total = resources
    if "executor" in task:
        executor = task["executor"]
        executor_resources = _validate_executor(executor, context)
        _refuse_mixture(
            resources + executor_resources, "Task and its executor mix revocable and non-revocable resources"
        )
        if executor["executor_id"]["value"] not in context.executors:
            total = resources + executor_resources
    if total not in context.offered:
        raise InvalidTaskError(
            f"Total resources {total!r} required by task and its executor is more than available {context.offered!r}"
        )
    return total


def _validate_executor(executor: Mapping[str, Any], context: LaunchContext) -> Resources:
    executor_id = executor["executor_id"]["value"]
    _validate_id(executor_id)
    if executor.get("type", "CUSTOM") != "CUSTOM":
        raise InvalidTaskError("'ExecutorInfo.type' must be 'CUSTOM'")
    if "command" not in executor:
        raise InvalidTaskError("'ExecutorInfo.command' must be set for 'CUSTOM' executor")
    framework_id = executor.get("framework_id", {}).get("value")
    if framework_id != context.framework_id:
        raise InvalidTaskError(
            f"ExecutorInfo has an invalid FrameworkID (Actual: {framework_id} vs Expected: {context.framework_id})"
        )
    resources = _resources(executor.get("resources", []), "Executor uses invalid resources")
    _refuse_mixture(resources, "Executor mixes revocable and non-revocable resources")
    existing = context.executors.get(executor_id)
    if existing is not None and not same_executor(existing, executor):
        raise InvalidTaskError("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.")
    return resources


def same_executor(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two ExecutorInfos are equal as messages: the order of resources and 1 or 1.0 make no difference."""

    def without_resources(executor: Mapping[str, Any]) -> Json:
        return {name: value for name, value in executor.items() if name != "resources"}

    return without_resources(one) == without_resources(other) and Resources.from_json(
        one.get("resources", [])
    ) == Resources.from_json(other.get("resources", []))


def _validate_id(value: str) -> None:
    """An id becomes the name of a directory (``src/common/validation.cpp``)."""
    if not value:
        raise InvalidTaskError("ID must not be empty")
    if len(value) > 255:
        raise InvalidTaskError("ID must not be greater than 255 characters")
    if value in (".", ".."):
        raise InvalidTaskError(f"'{value}' is disallowed")
    if any(character in "/\\" or ord(character) < 32 or ord(character) == 127 for character in value):
        raise InvalidTaskError(f"'{value}' contains invalid characters")


def _resources(messages: list[Json], complaint: str) -> Resources:
    try:
        resources = Resources.from_json(messages)
    except ResourceError as error:
        raise InvalidTaskError(f"{complaint}: {error}") from error
    for kind in resources.kinds:
        if kind.revocable and any(each.get("type") == "DYNAMIC" for each in kind.json.get("reservations", [])):
            # A provider may report such resources, and they are offered, but no task may use them.
            raise InvalidTaskError(
                f"{complaint}: Invalid ReservationInfo: Dynamically reserved resource "
                f"{resources.named(kind.name)!r} cannot be created from revocable resources"
            )
    roles = {kind.json.get("allocation_info", {}).get("role") for kind in resources.kinds}
    if len(roles) > 1:
        raise InvalidTaskError(f"{complaint}: The resources have multiple allocation roles {sorted(map(str, roles))}")
    return resources


def _refuse_mixture(resources: Resources, complaint: str) -> None:
    for name in {kind.name for kind in resources.revocable.kinds} & {kind.name for kind in resources.regular.kinds}:
        raise InvalidTaskError(f"{complaint}: Cannot use both revocable and non-revocable '{name}' at the same time")

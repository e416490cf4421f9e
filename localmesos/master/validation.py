"""What the master refuses in a launch, in Mesos' order and words (``src/master/validation.cpp``).  Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from serenity.localmesos.master.resource_validation import all_text, role_of, text
from serenity.wire.mesos.resources import Json, Resources


class InvalidTaskError(ValueError):
    """The task cannot be launched; the text is what the framework reads in TASK_ERROR."""


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """What a task is checked against."""

    framework_id: str
    agent_id: str
    task_ids: Collection[str]  # Of the framework's live tasks.
    unreachable_ids: Collection[str]  # Of its tasks on agents that are away.
    executors: Mapping[str, Json]  # ExecutorInfos of the framework that run on the agent, by id.
    offered: Resources  # What is left of the accepted offers.


def validate_task(task: Mapping[str, Any], context: LaunchContext) -> Resources:
    """Returns what the launch takes out of the offer: the task's resources, and a new executor's.

    Each resource by itself must have been found valid before, by `resource_validation`.

    Raises:
        InvalidTaskError
    """
    _validate_ids(task, context)
    _refuse_negative(task.get("kill_policy", {}).get("grace_period"), "Task's 'kill_policy.grace_period'")
    _refuse_negative(task.get("max_completion_time"), "Task's `max_completion_time`")
    if not task.get("resources"):
        raise InvalidTaskError("Task uses no resources")
    resources = _resources(task["resources"], "Task uses invalid resources", "Invalid task resources")
    _refuse_mixture(resources, "Task mixes revocable and non-revocable resources")
    _validate_environment(task.get("command"), "Task's")
    _validate_limits(task.get("limits", {}), resources)

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
            f"Total resources {all_text(total)} required by task and its executor is more than "
            f"available {all_text(context.offered)}"
        )
    return total


def _validate_ids(task: Mapping[str, Any], context: LaunchContext) -> None:
    task_id = task["task_id"]["value"]
    _validate_id(task_id)
    if task_id in context.task_ids:
        raise InvalidTaskError(f"Task has duplicate ID: {task_id}")
    if task_id in context.unreachable_ids:
        raise InvalidTaskError(f"Task reuses the ID of an unreachable task: {task_id}")
    agent_id = task["agent_id"]["value"]
    if agent_id != context.agent_id:
        raise InvalidTaskError(f"Task uses invalid agent {agent_id} while agent {context.agent_id} is expected")


def _validate_executor(executor: Mapping[str, Any], context: LaunchContext) -> Resources:
    executor_id = executor["executor_id"]["value"]
    kind = executor.get("type", "CUSTOM")
    if kind == "DEFAULT" and "command" in executor:
        raise InvalidTaskError("'ExecutorInfo.command' must not be set for 'DEFAULT' executor")
    if kind == "CUSTOM" and "command" not in executor:
        raise InvalidTaskError("'ExecutorInfo.command' must be set for 'CUSTOM' executor")
    _validate_id(executor_id)
    _refuse_negative(executor.get("shutdown_grace_period"), "ExecutorInfo's 'shutdown_grace_period'")
    _validate_environment(executor.get("command"), "Executor's")
    framework_id = executor.get("framework_id", {}).get("value")
    if framework_id != context.framework_id:
        raise InvalidTaskError(
            f"ExecutorInfo has an invalid FrameworkID (Actual: {framework_id} vs Expected: {context.framework_id})"
        )
    resources = _resources(
        executor.get("resources", []), "Executor uses invalid resources", "Invalid executor resources"
    )
    _refuse_mixture(resources, "Executor mixes revocable and non-revocable resources")
    existing = context.executors.get(executor_id)
    if existing is not None and not same_executor(existing, executor):
        raise InvalidTaskError("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.")
    if kind != "CUSTOM":
        raise InvalidTaskError("'ExecutorInfo.type' must be 'CUSTOM'")
    return resources


def same_executor(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two ExecutorInfos are equal as messages: the order of resources and 1 or 1.0 make no difference."""

    def without_resources(executor: Mapping[str, Any]) -> Json:
        return {name: value for name, value in executor.items() if name != "resources"}

    return without_resources(one) == without_resources(other) and Resources.from_json(
        one.get("resources", [])
    ) == Resources.from_json(other.get("resources", []))


def why_no_id(value: str) -> str | None:
    """Why a text can be no id: an id becomes the name of a directory (``src/common/validation.cpp``)."""
    if not value:
        return "ID must not be empty"
    if len(value) > 255:
        return "ID must not be greater than 255 characters"
    if value in (".", ".."):
        return f"'{value}' is disallowed"
    if any(character in "/\\" or ord(character) < 32 or ord(character) == 127 for character in value):
        return f"'{value}' contains invalid characters"
    return None


def _validate_id(value: str) -> None:
    if (reason := why_no_id(value)) is not None:
        raise InvalidTaskError(reason)


def _refuse_negative(duration: Json | None, what: str) -> None:
    if duration is not None and int(duration["nanoseconds"]) < 0:
        raise InvalidTaskError(f"{what} must be non-negative")


def _validate_environment(command: Mapping[str, Any] | None, whose: str) -> None:
    for variable in (command or {}).get("environment", {}).get("variables", []):
        if variable.get("type", "VALUE") == "VALUE" and "value" not in variable:
            raise InvalidTaskError(
                f"{whose} `CommandInfo` is invalid: Environment variable '{variable['name']}' of type 'VALUE' "
                "must have a value set"
            )


def _validate_limits(limits: Mapping[str, Json], resources: Resources) -> None:
    words = {"cpus": ("CPU", "cpu"), "mem": ("memory", "memory")}
    if limits.keys() - words.keys():
        raise InvalidTaskError("Only cpus and mem may be included in a task's resource limits")
    for name, limit in limits.items():
        what, lower = words[name]
        if not resources.named(name):
            raise InvalidTaskError(f"When a {what} limit is specified, a {what} request must also be specified")
        if limit["value"] < resources.amount(name):
            raise InvalidTaskError(f"The {lower} limit must be greater than or equal to the {lower} request")


def _resources(messages: list[Json], complaint: str, role_complaint: str) -> Resources:
    for each in messages:
        if each["name"] == "gpus" and each["scalar"]["value"] % 1:
            raise InvalidTaskError(
                f"{complaint}: Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer"
            )
        if "revocable" in each and any(one["type"] == "DYNAMIC" for one in each.get("reservations", [])):
            # A provider may report such resources, and they are offered, but no task may use them.
            raise InvalidTaskError(
                f"{complaint}: Invalid ReservationInfo: Dynamically reserved resource "
                f"{text(each)} cannot be created from revocable resources"
            )
    resources = Resources.from_json(messages)
    roles = list(dict.fromkeys(role_of(kind) for kind in resources.kinds))
    if len(roles) > 1:
        raise InvalidTaskError(
            f"{role_complaint}: The resources have multiple allocation roles "
            f"('{roles[1]}' and '{roles[0]}') but only one allocation role is allowed"
        )
    return resources


def _refuse_mixture(resources: Resources, complaint: str) -> None:
    for name in {kind.name for kind in resources.revocable.kinds} & {kind.name for kind in resources.regular.kinds}:
        raise InvalidTaskError(f"{complaint}: Cannot use both revocable and non-revocable '{name}' at the same time")

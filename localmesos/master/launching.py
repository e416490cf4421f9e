"""ACCEPT: the offers are checked, then each task, and what is left over goes back.

Part of the master, in a module of its own; ``Master::accept`` and ``Master::_accept`` of Mesos.
Only LAUNCH is carried out.  Tasks of a LAUNCH_GROUP are refused; other operations (RESERVE, CREATE, …) are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from serenity.localmesos import tasks
from serenity.localmesos.master import offering
from serenity.localmesos.master.resource_validation import upgraded, why_invalid
from serenity.localmesos.master.state import Executor, Framework, Offer
from serenity.localmesos.master.validation import InvalidTaskError, LaunchContext, validate_task
from serenity.localmesos.messages import RunTask
from serenity.wire.mesos.resources import Json, Resources

if TYPE_CHECKING:
    from serenity.localmesos.master.master import Master

logger = logging.getLogger(__name__)


def accept(master: Master, framework: Framework, call: Json) -> None:
    """Uses up the offers of an ACCEPT: launches its tasks, and refuses what is left over by the call's filters."""
    offer_ids = [each["value"] for each in call.get("offer_ids", [])]
    invalid = _why_invalid(master, framework, offer_ids)
    # Even if the call is invalid, all offers in it that exist are used up, another framework's too.
    offers = [master.offers.pop(offer_id) for offer_id in dict.fromkeys(offer_ids) if offer_id in master.offers]
    if invalid is not None:
        for task in (task for operation in call.get("operations", []) for task in _tasks(operation)):
            text = f"Task launched with invalid offers: {invalid}"
            _refuse_task(master, framework, task, "TASK_DROPPED", text, "REASON_INVALID_OFFERS")
        return
    left = Resources()
    for offer in offers:
        left += offer.resources
    for operation in call.get("operations", []):
        for task in _valid_tasks(master, framework, operation):
            left -= _launch(master, framework, _completed(task, framework, offers[0]), offers[0].agent_id, left)
    # One filter for all that is left: valid offers are of one agent and one role.
    offering.refuse(master, framework, offers[0], left, call.get("filters", {}))


def _why_invalid(master: Master, framework: Framework, offer_ids: list[str]) -> str | None:
    if not offer_ids:
        return "No offers specified"
    doubled = next((each for index, each in enumerate(offer_ids) if each in offer_ids[:index]), None)
    if doubled is not None:
        return f"Duplicate offer {doubled} in offer list"
    unknown = next((each for each in offer_ids if each not in master.offers), None)
    if unknown is not None:
        return f"Offer {unknown} is no longer valid"
    offers = [master.offers[offer_id] for offer_id in offer_ids]
    alien = next((offer for offer in offers if offer.framework_id != framework.framework_id), None)
    if alien is not None:
        return (
            f"Offer {alien.offer_id} has invalid framework {alien.framework_id} "
            f"while framework {framework.framework_id} is expected"
        )
    for offer in offers:
        if offer.role != offers[0].role:
            return (
                f"Aggregated offers must be allocated to the same role. Offer {offer.offer_id} "
                f"uses role '{offer.role} but another is using role '{offers[0].role}"
            )
    for offer in offers:
        if offer.agent_id != offers[0].agent_id:
            return (
                f"Aggregated offers must belong to one single agent. Offer {offer.offer_id} "
                f"uses agent {offer.agent_id} and agent {offers[0].agent_id}"
            )
    return None


def _tasks(operation: Json) -> list[Json]:
    if operation.get("type") == "LAUNCH_GROUP":
        group: list[Json] = operation.get("launch_group", {}).get("task_group", {}).get("tasks", [])
        return group
    launched: list[Json] = operation.get("launch", {}).get("task_infos", [])
    return launched


def _valid_tasks(master: Master, framework: Framework, operation: Json) -> Iterator[Json]:
    """The tasks of a LAUNCH; if one resource is invalid in itself, all tasks are refused."""
    kind, tasks_ = operation.get("type"), _tasks(operation)
    if kind == "LAUNCH_GROUP":
        text = "localmesos has no default executor, and so no task groups"
        for task in tasks_:
            _refuse_task(master, framework, task, "TASK_ERROR", text, "REASON_TASK_GROUP_INVALID")
        return
    if kind != "LAUNCH":
        logger.warning("operation %s is not supported, dropped", kind)
        return
    invalid = why_invalid(
        each for task in tasks_ for whose in (task, task.get("executor", {})) for each in whose.get("resources", [])
    )
    if invalid is None and "id" in operation:
        invalid = "The `id` field cannot be set on LAUNCH operations"
    if invalid is None:
        yield from tasks_
        return
    for task in tasks_:
        _refuse_task(master, framework, task, "TASK_ERROR", invalid, "REASON_TASK_INVALID")


def _completed(task: Json, framework: Framework, offer: Offer) -> Json:
    """The task with what the master fills in: allocation_info, and the executor's framework."""
    filled = {**task, "resources": _allocated(task.get("resources", []), offer.role)}
    if "executor" in task:
        executor = task["executor"]
        filled["executor"] = {"framework_id": {"value": framework.framework_id}, **executor}
        if "resources" in executor:
            filled["executor"]["resources"] = _allocated(executor["resources"], offer.role)
    return filled


def _allocated(resources: list[Json], role: str) -> list[Json]:
    return [{"allocation_info": {"role": role}, **upgraded(each)} for each in resources]


def _launch(master: Master, framework: Framework, task: Json, agent_id: str, left: Resources) -> Resources:
    """Launches one task if it is valid.  Returns what it takes of the offers."""
    executors = framework.executors_on(agent_id)
    context = LaunchContext(
        framework_id=framework.framework_id,
        agent_id=agent_id,
        task_ids=framework.tasks.keys(),
        unreachable_ids=framework.unreachable_tasks.keys(),
        executors=executors,
        offered=left,
    )
    try:
        taken = validate_task(task, context)
    except InvalidTaskError as error:
        _refuse_task(master, framework, task, "TASK_ERROR", str(error), "REASON_TASK_INVALID")
        return Resources()
    new_executor = True
    if "executor" in task:
        executor_id = task["executor"]["executor_id"]["value"]
        new_executor = executor_id not in executors
        if new_executor:
            resources = Resources.from_json(task["executor"].get("resources", []))
            framework.executors[agent_id, executor_id] = Executor(task["executor"], resources)
    framework.tasks[task["task_id"]["value"]] = tasks.Task.of(task, framework.framework_id)
    versions = {pid: provider.version for pid, provider in master.agents[agent_id].providers.items()}
    master.tell(agent_id, RunTask(framework.info, task, versions, new_executor))
    return taken


def _refuse_task(master: Master, framework: Framework, task: Json, state: str, message: str, reason: str) -> None:
    status = tasks.status(
        task["task_id"]["value"],
        tasks.state_for(state, framework.capabilities),
        master.clock(),
        "SOURCE_MASTER",
        message,
        reason,
        agent_id=task["agent_id"]["value"],
    )
    master.update(framework, status)

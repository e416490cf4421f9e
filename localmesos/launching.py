"""ACCEPT: the offers are checked, then each task, and what is left over goes back.

Part of the master, in a module of its own; ``Master::accept`` and ``Master::_accept`` of Mesos.
Only LAUNCH is carried out: the other operations (RESERVE, CREATE, LAUNCH_GROUP, …) are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from serenity.localmesos import tasks
from serenity.localmesos.allocator import allocated_to
from serenity.localmesos.master_state import Executor, Framework, Offer
from serenity.localmesos.messages import RunTask
from serenity.localmesos.validation import InvalidTaskError, LaunchContext, validate_task
from serenity.wire.resources import Json, ResourceError, Resources

if TYPE_CHECKING:
    from serenity.localmesos.master import Master

logger = logging.getLogger(__name__)


def accept(master: Master, framework: Framework, call: Json, now_s: float) -> None:
    """Uses up the offers of an ACCEPT: launches, and refuses the rest by the call's filters."""
    offer_ids = [each["value"] for each in call.get("offer_ids", [])]
    invalid = _why_invalid(master, framework, offer_ids)
    offers = [master.offers.pop(offer_id) for offer_id in dict.fromkeys(offer_ids) if offer_id in master.offers]
    if invalid is not None:
        for task in _tasks(call):
            _refuse_task(
                master, framework, task, "TASK_DROPPED", f"Task launched with invalid offers: {invalid}",
                "REASON_INVALID_OFFERS", now_s,
            )  # fmt: skip
        return
    left = Resources()
    for offer in offers:
        left += offer.resources
    for task in _tasks(call):
        left -= _launch(master, framework, _completed(task, framework, offers[0]), offers[0].agent_id, left, now_s)
    # One filter for all that was left: the offers were of one agent and one role.
    master.refuse(framework, offers[0], left, call.get("filters", {}))


def _why_invalid(master: Master, framework: Framework, offer_ids: list[str]) -> str | None:
    if not offer_ids:
        return "No offers specified"
    if len(set(offer_ids)) < len(offer_ids):
        return "Duplicate offer in offer list"
    offers = []
    for offer_id in offer_ids:
        offer = master.offers.get(offer_id)
        if offer is None or offer.framework_id != framework.framework_id:
            return f"Offer {offer_id} is no longer valid"
        offers.append(offer)
    if len({offer.agent_id for offer in offers}) > 1:
        return "Aggregated offers must belong to one single agent"
    if len({offer.role for offer in offers}) > 1:
        return "Aggregated offers must be allocated to the same role"
    return None


def _tasks(call: Json) -> Iterator[Json]:
    for operation in call.get("operations", []):
        if operation.get("type") == "LAUNCH":
            yield from operation.get("launch", {}).get("task_infos", [])
        else:
            logger.warning("operation %s is not supported, dropped", operation.get("type"))


def _completed(task: Json, framework: Framework, offer: Offer) -> Json:
    """The task with what the master fills in: allocation_info, and the executor's type and framework."""
    filled = {**task, "resources": _allocated(task.get("resources", []), offer.role)}
    if "executor" in task:
        executor = task["executor"]
        filled["executor"] = {
            "type": "CUSTOM",
            **executor,
            "framework_id": executor.get("framework_id", {"value": framework.framework_id}),
            "resources": _allocated(executor.get("resources", []), offer.role),
        }
    return filled


def _allocated(resources: list[Json], role: str) -> list[Json]:
    try:
        return allocated_to(Resources.from_json(resources), role).to_json()
    except ResourceError:
        return resources  # For the validation to complain about.


def _launch(
    master: Master, framework: Framework, task: Json, agent_id: str, left: Resources, now_s: float
) -> Resources:
    """Launches one task if it is valid.  Returns what it takes of the offers."""
    executors = framework.executors_on(agent_id)
    context = LaunchContext(framework.framework_id, agent_id, frozenset(framework.tasks), executors, left)
    try:
        taken = validate_task(task, context)
    except InvalidTaskError as error:
        _refuse_task(master, framework, task, "TASK_ERROR", str(error), "REASON_TASK_INVALID", now_s)
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
    master.outbox.append(RunTask(framework.info, task, versions, new_executor))
    return taken


def _refuse_task(
    master: Master, framework: Framework, task: Json, state: str, message: str, reason: str, now_s: float
) -> None:
    status = tasks.status(
        task["task_id"]["value"],
        tasks.state_for(state, framework.capabilities),
        now_s,
        "SOURCE_MASTER",
        message,
        reason,
        agent_id=task.get("agent_id", {}).get("value"),
    )
    master.update(framework, status)

"""JSON of the read endpoints that master and agent share: resources, tasks, flags, version.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from serenity.localmesos.tasks import Task
from serenity.wire.mesos.resources import Json, Kind, Resources, Value

# The version of Mesos whose API is spoken.  `git_tag` says what really answers, so that nobody is fooled.
MESOS_VERSION = "1.11.0"
BUILD = "serenity-localmesos"
AGENT_CAPABILITIES = (
    "MULTI_ROLE",
    "HIERARCHICAL_ROLE",
    "RESERVATION_REFINEMENT",
    "RESOURCE_PROVIDER",
    "TASK_RESOURCE_LIMITS",
)


def provider(info: Json, total: Resources) -> Json:
    return {"resource_provider_info": info, **({"total_resources": total.to_json()} if total else {})}


def version() -> Json:
    return {"build_user": BUILD, "git_tag": BUILD, "version": MESOS_VERSION}


def summary(resources: Resources) -> Json:
    """Amounts by name; ``cpus`` is the regular part, ``cpus_revocable`` the revocable one."""
    amounts: Json = {"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0}
    for kind, value in resources:
        name = f"{kind.name}_revocable" if kind.revocable else kind.name
        if isinstance(value, int):
            amounts[name] = round(amounts.get(name, 0.0) + value / 1000, 3)
        elif isinstance(value, tuple):
            amounts[name] = "[" + ", ".join(f"{begin}-{end}" for begin, end in value) + "]"
        else:
            amounts[name] = "{" + ", ".join(sorted(value)) + "}"
    return amounts


def full(resources: Resources) -> list[Json]:
    """Resource messages with ``role`` spelled out, as these endpoints have it."""
    return [{**each, "role": Kind.of(each).role} for each in resources.to_json()]


def by_reservation(resources: Resources) -> tuple[Resources, dict[str, Resources]]:
    """The unreserved part, and the reserved ones by role."""
    unreserved: dict[Kind, Value] = {}
    reserved: dict[str, dict[Kind, Value]] = {}
    for kind, value in resources:
        (unreserved if kind.role == "*" else reserved.setdefault(kind.role, {}))[kind] = value
    return Resources(unreserved), {role: Resources(values) for role, values in reserved.items()}


def reservations(resources: Resources) -> Json:
    unreserved, reserved = by_reservation(resources)
    return {
        "reserved_resources": {role: summary(part) for role, part in reserved.items()},
        "unreserved_resources": summary(unreserved),
        "reserved_resources_full": {role: full(part) for role, part in reserved.items()},
        "unreserved_resources_full": full(unreserved),
    }


def role_of(resources: Resources) -> str:
    """The role to which the resources are allocated; ``*`` if to none."""
    return next((str(k.json["allocation_info"]["role"]) for k in resources.kinds if "allocation_info" in k.json), "*")


def roles(framework_info: Json) -> Json:
    """``roles`` of a MULTI_ROLE framework, else ``role``."""
    capabilities = {each.get("type") for each in framework_info.get("capabilities", [])}
    if "MULTI_ROLE" in capabilities:
        return {"roles": framework_info.get("roles", [])}
    return {"role": framework_info.get("role", "*")}


def labels(message: Mapping[str, Any]) -> Json:
    """The field ``labels``, if the message has it."""
    return {"labels": message["labels"].get("labels", [])} if "labels" in message else {}


def task(task: Task) -> Json:
    """A task as in ``/state``."""
    return {
        "id": task.task_id,
        "name": task.name,
        "framework_id": task.framework_id,
        "executor_id": task.executor_id or "",
        "slave_id": task.agent_id,
        "state": task.state,
        "resources": summary(task.resources),
        "role": role_of(task.resources),
        "statuses": [_status(each) for each in task.statuses],
        **labels(task.shared),
        **({"discovery": task.shared["discovery"]} if "discovery" in task.shared else {}),
    }


def _status(status: Json) -> Json:
    shown: Json = {name: status[name] for name in ("state", "timestamp") if name in status}
    shown |= labels(status)
    if "container_status" in status:
        inner = status["container_status"]
        shown["container_status"] = {name: inner[name] for name in ("container_id", "network_infos") if name in inner}
    return shown


def v1(kind: str, body: object) -> Json:
    """An answer of ``/api/v1``."""
    return {"type": kind, kind.lower(): body}


def flags_v1(flags: Mapping[str, str]) -> Json:
    return {"flags": [{"name": name, "value": value} for name, value in sorted(flags.items())]}


def total(parts: Iterable[Resources]) -> Resources:
    sum_ = Resources()
    for part in parts:
        sum_ += part
    return sum_

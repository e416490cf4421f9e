"""What makes a single resource invalid, and how Mesos writes resources in its messages.  Pure.

``Resources::validate`` and ``operator<<`` in ``src/common/resources.cpp``, ``validateAndUpgradeResources``
in ``src/common/resources_utils.cpp``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from serenity.localmesos.master.roles import why_no_role
from serenity.wire.mesos.resources import Json, Kind, Resources

_LEAST_AMOUNT = 0.001 / 2  # An amount that is not zero, and yet is rounded to zero, is refused.
_VALUES = {"SCALAR": "scalar", "RANGES": "ranges", "SET": "set"}


def why_invalid(resources: Iterable[Mapping[str, Any]]) -> str | None:
    """What is wrong with the first invalid resource, in Mesos' words."""
    for resource in resources:
        reason = _why_value_invalid(resource) or _why_reservation_invalid(resource)
        if reason is not None:
            return f"Resource '{text(resource)}' is invalid: {reason}"
    return None


def _why_value_invalid(resource: Mapping[str, Any]) -> str | None:
    if not resource["name"]:
        return "Empty resource name"
    kind = resource["type"]
    if kind not in _VALUES:
        return "Unsupported resource type"
    if [name for name in _VALUES.values() if name in resource] != [_VALUES[kind]]:
        return f"Invalid {_VALUES[kind]} resource"
    if kind == "SCALAR":
        amount = resource["scalar"]["value"]
        if amount != 0 and not _LEAST_AMOUNT <= amount < float("inf"):
            return "Invalid scalar resource: value <= 0"
    if kind == "RANGES":
        ranges = sorted((each["begin"], each["end"]) for each in resource["ranges"].get("range", []))
        if any(begin > end for begin, end in ranges):
            return "Invalid ranges resource: begin > end"
        if any(following[0] <= each[1] for each, following in itertools.pairwise(ranges)):
            return "Invalid ranges resource: overlapping ranges"
    if kind == "SET":
        items = resource["set"].get("item", [])
        if len(set(items)) < len(items):
            return "Invalid set resource: duplicated elements"
    return None


def _why_reservation_invalid(resource: Mapping[str, Any]) -> str | None:
    if "reservations" not in resource:
        return why_no_role(resource.get("role", "*"))
    for reservation in resource["reservations"]:
        for field in ("type", "role"):
            if field not in reservation:
                return f"Invalid reservation: 'Resource.ReservationInfo.{field}' field must be set."
        if (reason := why_no_role(reservation["role"])) is not None:
            return reason
        if reservation["role"] == "*":
            return 'Invalid reservation: role "*" cannot be reserved'
    return None


def upgraded(resource: Mapping[str, Any]) -> Json:
    """The resource in the form with `reservations`, in place of the older `role` and `reservation`."""
    rest = {name: value for name, value in resource.items() if name not in ("role", "reservation")}
    role = resource.get("role", "*")
    if role == "*" or "reservations" in resource:
        return rest
    dynamic = resource.get("reservation")
    reservation = {"type": "STATIC", "role": role} if dynamic is None else {"type": "DYNAMIC", "role": role, **dynamic}
    return {**rest, "reservations": [reservation]}


# -- as text -------------------------------------------------------------------------------


def text(resource: Mapping[str, Any]) -> str:
    """Such as ``cpus(allocated: be)(reservations: [(STATIC,be)]){REV}:1.5``."""
    tags = ""
    if "allocation_info" in resource:
        tags += f"(allocated: {resource['allocation_info'].get('role', '')})"
    if "reservations" in resource:
        reservations = (f"({each.get('type', 'UNKNOWN')},{each.get('role', '')})" for each in resource["reservations"])
        tags += f"(reservations: [{','.join(reservations)}])"
    if "revocable" in resource:
        tags += "{REV}"
    return f"{resource['name']}{tags}:{_value(resource)}"


def _value(resource: Mapping[str, Any]) -> str:
    if resource["type"] == "RANGES":
        ranges = resource.get("ranges", {}).get("range", [])
        return "[" + ", ".join(f"{each['begin']}-{each['end']}" for each in ranges) + "]"
    if resource["type"] == "SET":
        return "{" + ", ".join(resource.get("set", {}).get("item", [])) + "}"
    return f"{round(resource.get('scalar', {}).get('value', 0), 3):.15g}"


def all_text(resources: Resources) -> str:
    return "; ".join(text(each) for each in resources.to_json()) or "{}"


def role_of(kind: Kind) -> str | None:
    """The role to which a resource is allocated, if to any."""
    role = kind.json.get("allocation_info", {}).get("role")
    return None if role is None else str(role)

"""mesos-agent's ``--resources``: ``cpus:2;mem:4096;ports:[31000-32000];cpus(be):1``.  Pure."""

from __future__ import annotations

import re

from serenity.wire.mesos.resources import Json, ResourceError, Resources

_PART = re.compile(r"(?P<name>[\w-]+)(\((?P<role>[\w*/-]+)\))?:(?P<value>.+)")


def parse_resources(text: str) -> Resources:
    """The agent's own resources; those with a role are statically reserved to that role.

    Raises:
        ResourceError: in words for a user.
    """
    total = Resources()
    for part in filter(None, (each.strip() for each in text.split(";"))):
        match = _PART.fullmatch(part)
        if match is None:
            raise ResourceError(f"{part!r} is no resource; write such as cpus:2;mem:4096;ports:[31000-32000]")
        resource: Json = {"name": match["name"], **_value(match["value"], part)}
        if match["role"] not in (None, "*"):
            resource["reservations"] = [{"type": "STATIC", "role": match["role"]}]
        total += Resources.from_json([resource])
    if not total.cpus or not total.mem_mb:
        raise ResourceError(f"{text!r} has no cpus or no mem")
    return total


def _value(text: str, part: str) -> Json:
    try:
        if text.startswith("[") and text.endswith("]"):
            bounds = [each.split("-") for each in text[1:-1].split(",")]
            ranges = [{"begin": int(begin), "end": int(end)} for begin, end in bounds]
            return {"type": "RANGES", "ranges": {"range": ranges}}
        if text.startswith("{") and text.endswith("}"):
            return {"type": "SET", "set": {"item": [each.strip() for each in text[1:-1].split(",")]}}
        return {"type": "SCALAR", "scalar": {"value": float(text)}}
    except ValueError as error:
        raise ResourceError(f"{part!r} is no resource: {error}") from error

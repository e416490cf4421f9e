"""What the master refuses in a FrameworkInfo, in Mesos' order and words (``src/master/validation.cpp``).  Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from serenity.localmesos.master.roles import why_no_role
from serenity.localmesos.master.validation import why_no_id
from serenity.localmesos.tasks import capabilities_of, roles_of

_MAX_DURATION_S = 2**63 / 1e9  # What fits into Mesos' nanoseconds.


def why_invalid(info: Mapping[str, Any], suppressed_roles: Collection[str]) -> str | None:
    """What is wrong with the FrameworkInfo of a subscription or an update; None if nothing is."""
    framework_id = info.get("id", {}).get("value", "")
    if (reason := _why_roles_invalid(info)) is not None:
        return reason
    if framework_id and (reason := why_no_id(framework_id)) is not None:
        return reason
    timeout_s = info.get("failover_timeout", 0.0)
    if not -_MAX_DURATION_S < timeout_s < _MAX_DURATION_S:
        return f"The framework failover_timeout ({timeout_s:g}) is invalid"
    for role in suppressed_roles:
        if role not in roles_of(info):
            return f"Suppressed role '{role}' is not contained in the list of roles"
    return None


def _why_roles_invalid(info: Mapping[str, Any]) -> str | None:
    multi_role = "MULTI_ROLE" in capabilities_of(info)
    if multi_role and "role" in info:
        return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
    if not multi_role and "roles" in info:
        return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    roles = roles_of(info)
    doubled = sorted({role for role in roles if roles.count(role) > 1})
    if doubled:
        return f"'FrameworkInfo.roles' contains duplicate items: {{ {', '.join(doubled)} }}"
    field = "'FrameworkInfo.roles' contains invalid role" if multi_role else "'FrameworkInfo.role' is not a valid role"
    return next((f"{field}: {reason}" for role in roles if (reason := why_no_role(role)) is not None), None)


def why_no_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Why a known framework cannot be changed from `old` to `new`; None if it can."""
    if old.get("principal") != new.get("principal"):
        return "Changing framework's principal is not allowed."
    for field in ("user", "checkpoint"):
        before, after = _text(old.get(field, False)), _text(new.get(field, False))
        if before != after:
            return f"Updating 'FrameworkInfo.{field}' is unsupported; attempted to update from '{before}' to '{after}'"
    return None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_immutable_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` as a subscription takes it: user and checkpoint silently stay what they were in `old`."""
    return {**new, **{field: old[field] for field in ("user", "checkpoint") if field in old}}

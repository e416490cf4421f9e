"""What may be a role (``src/common/roles.cpp``).  Pure."""

from __future__ import annotations

_INVALID_CHARACTERS = frozenset("\t\n\v\f\r \x7f")


def why_no_role(role: str) -> str | None:
    """What is wrong with a role's name, in Mesos' words; None if nothing is."""
    if role == "*":
        return None
    if role.startswith("/"):
        return f"Role '{role}' cannot start with a slash"
    if role.endswith("/"):
        return f"Role '{role}' cannot end with a slash"
    if "//" in role:
        return f"Role '{role}' cannot contain two adjacent slashes"
    if not role:
        return "Role names cannot be the empty string"
    for component in role.split("/"):
        if component in (".", "..", "*"):
            return f"Role '{role}' cannot include '{component}' as a component"
        if component.startswith("-"):
            return f"Role component '{component}' is invalid because it starts with a dash"
        if _INVALID_CHARACTERS & set(component):
            return f"Role component '{component}' is invalid because it contains backspace or whitespace"
    return None

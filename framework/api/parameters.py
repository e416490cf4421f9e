"""Query parameters: how each is read, and how the OpenAPI document describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serenity.framework.api.refusals import BadRequest


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number; `default` None where its absence means something of its own."""

    name: str
    text: str
    least: int
    most: int
    default: int | None

    def parse(self, given: str | None) -> int | None:
        """Raises BadRequest."""
        if given is None:
            return self.default
        # Long numbers would take long to convert, and ² is a digit to Python.
        if (
            not (given.isascii() and given.isdecimal() and len(given) <= 20)
            or not self.least <= int(given) <= self.most
        ):
            raise BadRequest(f"{self.name}={given!r}: it must be a whole number from {self.least} to {self.most}")
        return int(given)

    @property
    def schema(self) -> dict[str, Any]:
        described: dict[str, Any] = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return described if self.default is None else {**described, "default": self.default}


@dataclass(frozen=True, slots=True)
class Choice:
    name: str
    text: str
    choices: tuple[str, ...]
    default: str

    def parse(self, given: str | None) -> str:
        """Raises BadRequest."""
        if given is None:
            return self.default
        if given not in self.choices:
            raise BadRequest(f"{self.name}={given!r}: it must be one of {', '.join(self.choices)}")
        return given

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.choices), "default": self.default}


Parameter = Number | Choice


def parse(parameters: Sequence[Parameter], given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The value of each parameter.  Raises BadRequest, also for a parameter that is given twice or does not exist."""
    names = {each.name for each in parameters}
    for name, values in given.items():
        if name not in names:
            known = f"there are {', '.join(sorted(names))}" if names else "there is none here"
            raise BadRequest(f"there is no parameter {name!r}; {known}")
        if len(values) > 1:
            raise BadRequest(f"{name} is given {len(values)} times")
    return {each.name: each.parse(given[each.name][0] if each.name in given else None) for each in parameters}

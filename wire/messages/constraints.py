"""Where a job may run: conditions on the attributes of agents, such as ``rack == r7`` or ``zone in a,b``.

An agent's attributes are what its operator gave to ``--attributes``; a name may be there several times,
each time with a value.  Every agent also has the attribute ``hostname``.
"""

from __future__ import annotations

import enum
import functools
import re
import warnings
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

_TEXT = re.compile(r"\s*([A-Za-z0-9][\w.-]{0,127})\s*(==|!=|~|\s(?:in)\s)\s*(.*?)\s*", re.DOTALL)
_MOST_VALUES = 100
# Matching time grows with the value's length to the power of the repetitions; within these limits it is harmless.
_MOST_REPETITIONS = 3
_VALUE_CHARACTERS = 256
_Value = Annotated[str, Meta(max_length=_VALUE_CHARACTERS)]


class Operator(enum.StrEnum):
    IS = "=="
    IS_NOT = "!="
    MATCHES = "~"  # A regular expression that the whole value must match.
    IN = "in"


class Constraint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`values`: one; for ``in`` one or more.  An agent without the attribute satisfies only ``!=``."""

    attribute: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w.-]{0,127}$")]
    operator: Operator
    values: Annotated[tuple[_Value, ...], Meta(min_length=1, max_length=_MOST_VALUES)]

    def __post_init__(self) -> None:
        """Raises ValueError in words for the user."""
        if self.operator is not Operator.IN and len(self.values) != 1:
            raise ValueError(f"constraint {self}: {self.operator} takes one value")
        if self.operator is Operator.MATCHES:
            _check(self.values[0])

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """``NAME == VALUE``, ``NAME != VALUE``, ``NAME ~ REGEX``, ``NAME in VALUE,VALUE``.

        Raises:
            ValueError: in words for the user.
        """
        match = _TEXT.fullmatch(text)
        if not match or not match[3]:
            raise ValueError(f"{text!r} is no constraint; write such as 'rack == r7', 'zone in a,b' or 'os ~ debian.*'")
        operator = Operator(match[2].strip())
        values = tuple(each.strip() for each in match[3].split(",")) if operator is Operator.IN else (match[3],)
        return cls(attribute=match[1], operator=operator, values=values)

    def __str__(self) -> str:
        return f"{self.attribute} {self.operator} {','.join(self.values)}"

    def satisfied_by(self, found: Sequence[str]) -> bool:
        """`found`: the agent's values of this attribute."""
        if self.operator is Operator.IS_NOT:
            return self.values[0] not in found
        if self.operator is Operator.MATCHES:
            return any(_pattern(self.values[0]).fullmatch(each[:_VALUE_CHARACTERS]) for each in found)
        return any(each in self.values for each in found)


@functools.lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        # Python warns that a later version may read "[[" differently, which does not belong in the framework's log.
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(text)


def _check(pattern: str) -> None:
    """Refuses patterns that could take hours: Python's matching backtracks, and nothing can interrupt it."""
    try:
        _pattern(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    plain = re.sub(r"\\[^\d]|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern)  # Escapes and sets repeat nothing.
    if re.search(r"\)[*+{]", plain) or re.search(r"\\\d|\(\?P=", plain):
        raise ValueError(f"{pattern!r} repeats a group or refers back to one, which can take for ever to match")
    if len(re.findall(r"[*+{]", plain)) > _MOST_REPETITIONS:
        raise ValueError(f"{pattern!r} has more than {_MOST_REPETITIONS} repetitions, which can take for ever")

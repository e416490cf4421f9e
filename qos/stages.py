"""Stages by name: how a line of a pipeline file becomes an object, or an error that helps.

A stage is a class whose constructor takes one frozen parameter dataclass (`Parameters`) of at
most six fields, each made by `parameter`.  Its kind (`Kind`) stands in a dict of names.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

S = TypeVar("S")

_WORDS = {
    float: "a number",
    int: "a whole number",
    str: "a text in quotes",
    bool: "true or false",
}


# A whole-number parameter is a count of samples, which a stage keeps of every container: at this many, 160 KB of each.
_MOST_SAMPLES = 10_000


class PipelineError(ValueError):
    """A pipeline file that cannot be used; the text names file, key and remedy."""


@dataclass(frozen=True, slots=True)
class Range:
    """The bounds of a parameter that is a number.  NaN is in no range."""

    above: float = -math.inf
    at_least: float = -math.inf
    below: float = math.inf
    at_most: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.above < value < self.below and self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        """Such as ``above 0, at most 1``; empty for the range of all numbers."""
        ends = ((field.name.replace("_", " "), getattr(self, field.name)) for field in dataclasses.fields(self))
        return ", ".join(f"{name} {end:g}" for name, end in ends if math.isfinite(end))


POSITIVE = Range(above=0.0)
NOT_NEGATIVE = Range(at_least=0.0)
SHARE = Range(at_least=0.0, at_most=1.0)


def parameter(default: Any, unit: str, meaning: str, within: Range = Range(), *, column: bool = False) -> Any:
    """A field of a parameter dataclass, with what `serenity qos plugins` shows of it.

    `column`: the parameter names one or several columns, which must be filled before the stage.
    """
    told = {"unit": unit, "meaning": meaning, "within": within, "column": column}
    return dataclasses.field(default=default, metadata=told)


@dataclass(frozen=True)
class Parameters:
    """The parameters of a stage."""

    def __post_init__(self) -> None:
        """Raises ValueError: a number is out of its range."""
        for field in dataclasses.fields(self):
            value, within = getattr(self, field.name), field.metadata["within"]
            if isinstance(value, int | float) and value not in within:
                raise ValueError(f"{field.name} = {value}; it must be {within}")


@dataclass(frozen=True)
class NoParameters(Parameters):
    """For a stage that has none."""


@runtime_checkable
class ReadsColumns(Protocol):
    """A stage that says which columns it looks at.  For any other stage all columns are read."""

    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """A stage's class, the dataclass of its parameters, and the columns that it derives.

    `of_production`: it drops all best-effort rows, so that stages after it would find no suspects.
    """

    build: Callable[[Any], S]
    parameters: type
    adds: tuple[str, ...] = ()
    of_production: bool = False


def build(kinds: Mapping[str, Kind[S]], entry: Any, where: str, columns: set[str] | None = None) -> S:
    """Makes the stage that `entry`, a table with a ``name`` and parameters, asks for.

    `where` names file and table in errors.  `columns`: those that are filled before the stage; the columns that it
    derives are added.  None: the columns that its parameters name are not checked.

    Raises:
        PipelineError
    """
    if not isinstance(entry, Mapping):
        raise PipelineError(f'{where} must be a table with a name, such as {{ name = "{next(iter(kinds))}" }}')
    name = entry.get("name")
    if not isinstance(name, str) or name not in kinds:
        what = "has no name" if name is None else f"knows no stage {name!r}"
        raise PipelineError(f"{where} {what}; write name = one of {', '.join(sorted(kinds))}")
    kind = kinds[name]
    given = {key: value for key, value in entry.items() if key != "name"}
    where = f"{where} ({name})"
    parameters: Any = convert(kind.parameters, given, where)
    if columns is not None:
        _check_columns(parameters, columns, where)
        columns.update(kind.adds)
    return kind.build(parameters)


def _check_columns(parameters: Any, columns: set[str], where: str) -> None:
    for field in dataclasses.fields(parameters):
        named = getattr(parameters, field.name) if field.metadata.get("column") else ()
        columns_named = (named,) if isinstance(named, str) else named
        for each in columns_named:
            if columns_named.count(each) > 1:
                raise PipelineError(f"{where}: {field.name} names {each!r} twice; once is enough")
            if each not in columns:
                raise PipelineError(
                    f"{where}: {field.name}: nothing fills a column {each!r} before it; write one of"
                    f" {', '.join(sorted(columns))}, or put the filter that derives it before"
                )


def convert(parameters: type[S], given: Any, where: str) -> S:
    """Fills a parameter dataclass from a TOML table.

    Raises:
        PipelineError: an unknown key, a wrong type, or a value out of range.
    """
    if not isinstance(given, Mapping):
        raise PipelineError(f"{where} must be a table")
    fields = {field.name: field for field in dataclasses.fields(parameters)}  # type: ignore[arg-type]
    types = typing.get_type_hints(parameters)
    values = {}
    for key, value in given.items():
        if key not in fields:
            known = ", ".join(fields) or "no parameters"
            raise PipelineError(f"{where} has no key {key!r}; remove it, or use one of: {known}")
        try:
            values[key] = _bounded(msgspec.convert(value, types[key]))
        except ValueError as error:  # msgspec's ValidationError is one, too.
            wanted = _WORDS.get(types[key], "a value")
            raise PipelineError(
                f"{where}: {key} = {value!r}: {error}; write {wanted} such as {as_toml(fields[key].default)}"
            ) from error
    try:
        return parameters(**values)
    except ValueError as error:
        raise PipelineError(f"{where}: {error}") from error


def as_toml(value: Any) -> str:
    """A parameter's value as it is written in a pipeline file."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _bounded(value: Any) -> Any:
    """Raises ValueError: a number that is not finite, or a count of samples that no stage has room for."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it is not finite")
    if isinstance(value, int) and value > _MOST_SAMPLES:
        raise ValueError(f"it is more than {_MOST_SAMPLES} samples, and as many would be kept of every container")
    return value

"""Descriptions of stages, for `serenity qos plugins`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from serenity.qos.stages import Kind, as_toml


class Parameter(msgspec.Struct, frozen=True):
    name: str
    default: str  # As written in a pipeline file.
    unit: str
    range: str
    meaning: str


class Plugin(msgspec.Struct, frozen=True):
    kind: str  # filter, detector, strategy, predictor, or slack for its other tables.
    name: str
    text: str  # The docstring: what the stage does, and when it fires.
    parameters: list[Parameter]


def plugins(kind: str, stages: Mapping[str, Kind[Any]]) -> list[Plugin]:
    return [plugin(kind, name, each.build, each.parameters) for name, each in stages.items()]


def plugin(kind: str, name: str, what: Any, parameters: type) -> Plugin:
    """`what`: the object whose docstring is shown."""
    return Plugin(kind, name, what.__doc__ or "", list(_parameters(parameters)))


def _parameters(of: type) -> Iterator[Parameter]:
    for field in dataclasses.fields(of):
        told = field.metadata
        yield Parameter(field.name, as_toml(field.default), told["unit"], str(told["within"]), told["meaning"])

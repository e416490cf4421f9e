"""JSON to a message of `schema`, as Mesos does it: what is unknown is dropped, defaults are filled in.  Pure.

The rules and the words are those of stout's ``protobuf::parse`` (``3rdparty/stout/include/stout/protobuf.hpp``)
and of ``JSON::Protobuf`` there, which writes messages out again.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serenity.localmesos.web.schema import ENUMERATIONS, MESSAGES
from serenity.wire.mesos.resources import Json

_FIELD = re.compile(r"(?P<name>\w+)(?P<label>!|\*|\{\})?:(?P<type>\w+)(=(?P<default>.+))?")
_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


class NotAMessageError(ValueError):
    """The JSON is no message of the type that is wanted; the text is Mesos'."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    label: str  # "!", "*", "{}" or "".
    type: str
    default: Any  # None for none.


def _fields(text: str) -> dict[str, _Field]:
    fields = {}
    for each in text.split():
        match = _FIELD.fullmatch(each)
        assert match is not None, each
        default = None if match["default"] is None else json.loads(match["default"])
        fields[match["name"]] = _Field(match["name"], match["label"] or "", match["type"].replace("_", " "), default)
    return fields


_MESSAGES = {name: _fields(text) for name, text in MESSAGES.items()}


def parse(text: bytes) -> Any:
    """A JSON document.

    Raises:
        NotAMessageError: also for NaN and Infinity, which Python would take.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise NotAMessageError(f"syntax error at line {error.lineno} near: {error.doc[error.pos :]}") from error
    except (UnicodeDecodeError, RecursionError) as error:  # RecursionError: it is nested too deeply.
        raise NotAMessageError(f"syntax error: {error}") from error


def _no_constant(name: str) -> None:
    raise NotAMessageError(f"syntax error at line 1 near: {name}")


def message(value: Any, name: str) -> Json:
    """A JSON value as a message of type `name`.

    Raises:
        NotAMessageError
    """
    if not isinstance(value, dict):
        raise NotAMessageError("Expecting a JSON object")
    converted = _message(value, name)
    missing = ", ".join(_missing(converted, name))
    if missing:
        raise NotAMessageError(f"Missing required fields: {missing}")
    return converted


def _message(value: Json, name: str) -> Json:
    fields = _MESSAGES[name]
    # In the order of the fields' names, as in Mesos' JSON objects: the order decides which error is told.
    converted = {key: _value(fields[key], value[key]) for key in sorted(value) if key in fields}
    ordered = {key: converted.get(key, field.default) for key, field in fields.items()}
    return {key: each for key, each in ordered.items() if each is not None and each != []}


def _value(field: _Field, value: Any) -> Any:
    """None for a field that counts as not set."""
    if value is None:
        return None
    if field.label == "*":
        converted = [_single(field, each) for each in (value if isinstance(value, list) else [value])]
        return [each for each in converted if each is not None]
    if field.label == "{}" and isinstance(value, dict):
        return {key: _single(field, each) for key, each in value.items()}
    return _single(field, value)


def _single(field: _Field, value: Any) -> Any:
    if field.type == "any":
        return value
    if isinstance(value, list):
        raise _unexpected("array", field)
    if isinstance(value, dict):
        if field.type not in _MESSAGES:
            raise _unexpected("object", field)
        return _message(value, field.type)
    if isinstance(value, bool):
        if field.type != "bool":
            raise _unexpected("boolean", field)
        return value
    if isinstance(value, str):
        return _from_string(field, value)
    if field.type not in ("double", "int"):
        raise _unexpected("number", field)
    return float(value) if field.type == "double" else int(value)


def _from_string(field: _Field, value: str) -> Any:
    if field.type == "string":
        return value
    if field.type == "bytes":
        return _checked_base64(field, value)
    if field.type in ENUMERATIONS:
        if value in ENUMERATIONS[field.type]:
            return value
        if field.label == "!":
            raise NotAMessageError(f"Failed to find enum for '{value}'")
        return None
    if field.type == "double" and value in _INFINITIES:
        return _INFINITIES[value]
    if field.type in ("double", "int", "bool"):
        wanted = "boolean" if field.type == "bool" else "number"
        try:
            parsed = json.loads(value, parse_constant=_no_constant)
        except ValueError as error:
            raise _unparsable(field, value, wanted) from error
        if isinstance(parsed, bool) is not (field.type == "bool") or not isinstance(parsed, int | float):
            raise _unparsable(field, value, wanted)
        return _single(field, parsed)
    raise _unexpected("string", field)


def _checked_base64(field: _Field, value: str) -> str:
    complaint = f"Failed to base64 decode bytes field '{field.name}': "
    alien = re.search(r"[^A-Za-z0-9+/=]", value)
    if alien is not None:
        raise NotAMessageError(f"{complaint}Invalid character '{alien[0]}'")
    try:
        base64.b64decode(value)
    except binascii.Error as error:
        raise NotAMessageError(f"{complaint}{error}") from error
    return value


def _unexpected(what: str, field: _Field) -> NotAMessageError:
    return NotAMessageError(f"Not expecting a JSON {what} for field '{field.name}'")


def _unparsable(field: _Field, value: str, wanted: str) -> NotAMessageError:
    return NotAMessageError(f"Failed to parse '{value}' as a JSON {wanted} for field '{field.name}'")


def _missing(value: Json, name: str, path: str = "") -> Iterator[str]:
    """Paths of missing fields, such as ``accept.operations[0].launch``: a message's own before those in its fields."""
    fields = _MESSAGES[name]
    yield from (f"{path}{key}" for key, field in fields.items() if field.label == "!" and key not in value)
    for key, field in fields.items():
        if key not in value or field.type not in _MESSAGES:
            continue
        if field.label == "*":
            for index, each in enumerate(value[key]):
                yield from _missing(each, field.type, f"{path}{key}[{index}].")
        elif field.label == "{}":
            for each in value[key].values():
                yield from _missing(each, field.type, f"{path}{key}.")
        else:
            yield from _missing(value[key], field.type, f"{path}{key}.")

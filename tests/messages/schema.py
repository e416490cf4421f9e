"""Whether a call or an event is one that Mesos could have written: strict where Mesos itself is lenient.

Mesos passes over fields that it does not know, and so do JSON parsers of protobuf in part (they take ``agentId`` for
``agent_id``, 3.0 for an int64, and any text for base64).  Here each of these is a mistake.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor, json_format, message_factory

from tests.messages.descriptors import v1_pool
from tests.messages.envelopes import APIS

_UUID_BYTES = 16
_Field = descriptor.FieldDescriptor
_INTEGERS = {_Field.CPPTYPE_INT32, _Field.CPPTYPE_INT64, _Field.CPPTYPE_UINT32, _Field.CPPTYPE_UINT64}
_FLOATS = {_Field.CPPTYPE_DOUBLE, _Field.CPPTYPE_FLOAT}


class Schema:
    """Mesos' messages, from the wheel of `mesos.interface`."""

    def __init__(self, wheel: Path) -> None:
        self._pool = v1_pool(wheel)

    def complaints(self, side: str, direction: str, message: Any) -> list[str]:
        """What is wrong with a call or an event (`direction`) of one side of Mesos; nothing if it is as it must be."""
        of_type = self._pool.FindMessageTypeByName(f"mesos.{side}.{direction.title()}")
        found = list(_json_complaints(of_type, message, direction))
        if found:
            return found
        parsed = message_factory.GetMessageClass(of_type)()
        try:
            json_format.ParseDict(message, parsed)
        except json_format.ParseError as error:  # A number out of its type's range, and whatever is not foreseen above.
            return [str(error)]
        missing = [f"{direction}: lacks {path}" for path in parsed.FindInitializationErrors()]
        return missing or list(_union_complaints(side, direction, message))


def _json_complaints(of_type: descriptor.Descriptor, value: Any, path: str) -> Iterator[str]:
    """What json_format would forgive."""
    if not isinstance(value, dict):
        yield f"{path}: {value!r:.60} is no object"
        return
    for name, content in value.items():
        field = of_type.fields_by_name.get(name)
        if field is None:
            yield f"{path}.{name}: {of_type.name} has no such field"
        elif not field.is_repeated:
            yield from _value_complaints(field, content, f"{path}.{name}")
        elif isinstance(content, list):
            for number, each in enumerate(content):
                yield from _value_complaints(field, each, f"{path}.{name}[{number}]")
        else:
            yield f"{path}.{name}: {content!r:.60} is no list"


def _value_complaints(field: descriptor.FieldDescriptor, value: Any, path: str) -> Iterator[str]:
    kind = field.cpp_type
    if kind == _Field.CPPTYPE_MESSAGE:
        yield from _json_complaints(field.message_type, value, path)
    elif kind == _Field.CPPTYPE_ENUM:
        if value not in field.enum_type.values_by_name:
            yield f"{path}: {field.enum_type.name} has no {value!r}"
    elif kind in _INTEGERS:
        if type(value) is not int:
            yield f"{path}: {value!r:.60} is no integer"
    elif kind in _FLOATS:
        if type(value) not in (int, float) or not math.isfinite(value):
            yield f"{path}: {value!r:.60} is no number"
    elif kind == _Field.CPPTYPE_BOOL:
        if type(value) is not bool:
            yield f"{path}: {value!r:.60} is neither true nor false"
    elif not isinstance(value, str):
        yield f"{path}: {value!r:.60} is no string"
    elif field.type == _Field.TYPE_BYTES:
        yield from _bytes_complaints(field, value, path)


def _bytes_complaints(field: descriptor.FieldDescriptor, value: str, path: str) -> Iterator[str]:
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        yield f"{path}: {value!r:.60} is no base64"
        return
    if "uuid" in (field.name, field.containing_type.name.lower()) and len(decoded) != _UUID_BYTES:
        yield f"{path}: a uuid of {len(decoded)} bytes"


def _union_complaints(side: str, direction: str, message: Any) -> Iterator[str]:
    """A message has the body of its type, and none of another; a call says who calls."""
    api, kind = APIS[side], message["type"]
    kinds = api.calls if direction == "call" else api.events
    bodies = {each.lower() for each, body in kinds.items() if body is not None}
    own = kind.lower()
    for name in sorted((bodies - {own}) & message.keys()):
        yield f"{direction}: {kind} with the body {name}"
    if own in bodies and own not in message and kind not in api.bodiless:
        yield f"{direction}: {kind} without its body"
    if direction == "call" and (kind != "SUBSCRIBE" or api.sender_subscribes):
        for name in sorted(api.sender.keys() - message.keys()):
            yield f"{direction}: {kind} without {name}"

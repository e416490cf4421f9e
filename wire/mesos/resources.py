"""Arithmetic on Mesos resources.

An offer may hold the same name several times: regular and revocable, reserved and not,
of the agent and of a resource provider.  These must never be added up by mistake.  So a
resource is identified by everything but its value (name, type, reservations, revocable,
provider id, allocation, disk), and that identity never changes: what is taken out of an
offer goes into a task exactly as it was in the offer.

Scalars have three decimals, as in Mesos (``src/common/values.cpp`` rounds to 0.001), and
are kept as whole thousandths, so that sums are exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

Json = dict[str, Any]
Ranges = tuple[tuple[int, int], ...]
Value = int | Ranges | frozenset[str]  # Thousandths of a scalar, or ranges, or a set.

_VALUE_FIELDS = {"SCALAR": "scalar", "RANGES": "ranges", "SET": "set"}


class ResourceError(ValueError):
    """A resource that Mesos would not accept, or a subtraction of what is not there."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a resource is, apart from how much: everything of its JSON but the value."""

    text: str  # Canonical JSON; two kinds are the same if and only if this is.

    def __hash__(self) -> int:
        return hash(self.text)  # A string caches its hash.

    @classmethod
    def of(cls, resource: Mapping[str, Any]) -> Kind:
        kept = {key: value for key, value in resource.items() if key not in _VALUE_FIELDS.values()}
        # Some endpoints spell defaults out, others leave them out.
        if kept.get("role") == "*":
            del kept["role"]
        if kept.get("reservations") == []:
            del kept["reservations"]
        return _known(msgspec.json.encode(kept, order="sorted").decode())

    @property
    def json(self) -> Json:
        fields: Json = msgspec.json.decode(self.text)
        return fields

    @property
    def name(self) -> str:
        return str(_fields(self.text)["name"])

    @property
    def type(self) -> str:
        return str(_fields(self.text)["type"])

    @property
    def revocable(self) -> bool:
        return "revocable" in _fields(self.text)

    @property
    def provider_id(self) -> str | None:
        """The resource provider that the resource comes from; None for the agent itself."""
        provider = _fields(self.text).get("provider_id")
        return None if provider is None else str(provider["value"])

    @property
    def role(self) -> str:
        """The role that the resource is reserved to (the innermost reservation), or ``*``."""
        fields = _fields(self.text)
        reservations = fields.get("reservations")
        return str(reservations[-1]["role"]) if reservations else str(fields.get("role", "*"))

    def without(self, *fields: str) -> Kind:
        return Kind.of({key: value for key, value in self.json.items() if key not in fields})


@functools.lru_cache(maxsize=4096)  # The same object each time: a dict finds it without comparing.
def _known(text: str) -> Kind:
    return Kind(text)


@functools.lru_cache(maxsize=4096)  # Kinds are few, and read all the time.
def _fields(text: str) -> Mapping[str, Any]:
    """Not to be modified: every call with the same text returns the same object."""
    fields: Json = msgspec.json.decode(text)
    return fields


class Resources:
    """An immutable bag of resources, at most one value of each kind, none of them empty."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[Kind, Value] | None = None) -> None:
        self._values: dict[Kind, Value] = dict(values or {})
        if not all(self._values.values()):
            self._values = {kind: value for kind, value in self._values.items() if value}

    @classmethod
    def from_json(cls, resources: Iterable[Mapping[str, Any]]) -> Resources:
        """Reads a list of v1 ``Resource`` messages.

        Raises:
            ResourceError: a resource without name, type or value, or with a negative value.
        """
        values: dict[Kind, Value] = {}
        for resource in resources:
            value, kind = _value_of(resource), Kind.of(resource)
            values[kind] = _add(values[kind], value) if kind in values else value
        return cls(values)

    @classmethod
    def total(cls, bags: Iterable[Resources]) -> Resources:
        """The sum of all bags, in one go."""
        values: dict[Kind, Value] = {}
        for bag in bags:
            for kind, value in bag._values.items():
                values[kind] = _add(values[kind], value) if kind in values else value
        return cls(values)

    @classmethod
    def scalar(cls, name: str, amount: float, **fields: Any) -> Resources:
        """One scalar; `fields` are further fields of the message, such as ``revocable={}``."""
        return cls.from_json([{"name": name, "type": "SCALAR", "scalar": {"value": amount}, **fields}])

    def to_json(self) -> list[Json]:
        """v1 ``Resource`` messages, not to be modified: resources of a kind share objects."""
        return [{**_fields(kind.text), **_value_json(value)} for kind, value in self._values.items()]

    # -- what there is -----------------------------------------------------------------

    def amount(self, name: str) -> float:
        """The sum of all scalars of that name, whatever their kind."""
        return sum(v for k, v in self._values.items() if isinstance(v, int) and k.name == name) / 1000

    @property
    def cpus(self) -> float:
        return self.amount("cpus")

    @property
    def mem_mb(self) -> float:
        """Memory in Mesos' unit, MiB."""
        return self.amount("mem")

    @property
    def mem_bytes(self) -> int:
        return round(self.amount("mem") * 1024 * 1024)

    @property
    def revocable(self) -> Resources:
        return Resources({k: v for k, v in self._values.items() if k.revocable})

    @property
    def regular(self) -> Resources:
        return Resources({k: v for k, v in self._values.items() if not k.revocable})

    def of_provider(self, provider_id: str | None) -> Resources:
        return Resources({k: v for k, v in self._values.items() if k.provider_id == provider_id})

    def named(self, *names: str) -> Resources:
        return Resources({k: v for k, v in self._values.items() if k.name in names})

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(self._values)

    def without_field(self, field: str) -> Resources:
        """The same amounts with one field of the messages left out, such as ``allocation_info``."""
        total = Resources()
        for kind, value in self._values.items():
            total += Resources({kind.without(field): value})
        return total

    # -- arithmetic --------------------------------------------------------------------

    def take(self, name: str, amount: float) -> Resources | None:
        """`amount` of one scalar, out of the single kind that has most of it; None if that has too little.

        Only one kind is used: a task may not mix regular and revocable resources of one name, and a task with
        resources of two providers would depend on the life of both.

        Raises:
            ResourceError: `amount` is negative, or no number.
        """
        if not 0 <= amount < math.inf:
            raise ResourceError(f"{amount:g} {name} cannot be taken")
        wanted = _thousandths(amount)
        fullest = max(
            ((v, k) for k, v in self._values.items() if isinstance(v, int) and k.name == name),
            key=lambda pair: pair[0],
            default=None,
        )
        if fullest is None or fullest[0] < wanted:
            return None
        return Resources({fullest[1]: wanted})

    def __add__(self, other: Resources) -> Resources:
        values = dict(self._values)
        for kind, value in other._values.items():
            values[kind] = _add(values[kind], value) if kind in values else value
        return Resources(values)

    def __sub__(self, other: Resources) -> Resources:
        """Raises ResourceError unless `other` is contained."""
        values = dict(self._values)
        for kind, value in other._values.items():
            if kind not in values or not _contains(values[kind], value):
                raise ResourceError(f"{Resources({kind: value})} is not contained in {self}")
            values[kind] = _subtract(values[kind], value)
        return Resources(values)

    def __contains__(self, other: object) -> bool:
        return isinstance(other, Resources) and all(
            kind in self._values and _contains(self._values[kind], value) for kind, value in other._values.items()
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self._values == other._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __bool__(self) -> bool:
        return bool(self._values)

    def __iter__(self) -> Iterator[tuple[Kind, Value]]:
        return iter(self._values.items())

    def __repr__(self) -> str:
        """Such as ``cpus(be,revocable,provider b31e):1.5; mem:512``, for messages."""
        return "; ".join(f"{k.name}{_tags(k)}:{_text(v)}" for k, v in self._values.items()) or "{}"


def _thousandths(amount: float) -> int:
    return round(amount * 1000)


def _value_of(resource: Mapping[str, Any]) -> Value:
    try:
        kind = resource["type"]
        if not resource["name"]:
            raise KeyError("name")
        if kind == "SCALAR":
            thousandths = _thousandths(float(resource["scalar"]["value"]))
            if thousandths < 0:
                raise ResourceError(f"negative: {resource!r}")
            return thousandths
        if kind == "RANGES":
            ranges = resource["ranges"].get("range", [])
            return _normalised((int(each["begin"]), int(each["end"])) for each in ranges)
        if kind == "SET":
            return frozenset(str(item) for item in resource["set"].get("item", []))
    except ResourceError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:  # The last two: NaN, infinity.
        raise ResourceError(f"no resource: {resource!r}") from error
    raise ResourceError(f"unknown type {kind!r}")


def _value_json(value: Value) -> Json:
    if isinstance(value, int):
        return {"scalar": {"value": value / 1000}}
    if isinstance(value, tuple):
        return {"ranges": {"range": [{"begin": begin, "end": end} for begin, end in value]}}
    return {"set": {"item": sorted(value)}}


def _normalised(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted, with touching and overlapping ranges merged; a range includes both its ends."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if begin > end:
            raise ResourceError(f"range {begin}-{end} is empty")
        if merged and begin <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)


def _add(left: Value, right: Value) -> Value:
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    if isinstance(left, tuple) and isinstance(right, tuple):
        return _normalised(left + right)
    assert isinstance(left, frozenset) and isinstance(right, frozenset)  # One kind has one type.
    return left | right


def _contains(whole: Value, part: Value) -> bool:
    if isinstance(whole, int) and isinstance(part, int):
        return whole >= part
    if isinstance(whole, tuple) and isinstance(part, tuple):
        return all(any(begin >= b and end <= e for b, e in whole) for begin, end in part)
    assert isinstance(whole, frozenset) and isinstance(part, frozenset)
    return whole >= part


def _subtract(whole: Value, part: Value) -> Value:
    if isinstance(whole, int) and isinstance(part, int):
        return whole - part
    if isinstance(whole, tuple) and isinstance(part, tuple):
        left = list(whole)
        for begin, end in part:
            left = [
                piece
                for b, e in left
                for piece in ([(b, e)] if end < b or begin > e else [(b, begin - 1), (end + 1, e)])
                if piece[0] <= piece[1]
            ]
        return tuple(left)
    assert isinstance(whole, frozenset) and isinstance(part, frozenset)
    return whole - part


def _tags(kind: Kind) -> str:
    provider = kind.provider_id
    tags = [
        *([kind.role] if kind.role != "*" else []),
        *(["revocable"] if kind.revocable else []),
        *([f"provider {provider[:8]}"] if provider else []),
    ]
    return f"({','.join(tags)})" if tags else ""


def _text(value: Value) -> str:
    if isinstance(value, int):
        return f"{value / 1000:g}"
    if isinstance(value, tuple):
        return "[" + ",".join(f"{begin}-{end}" for begin, end in value) + "]"
    return "{" + ",".join(sorted(value)) + "}"

"""Reading frame traces (docs/traces.md): JSON Lines, gzipped or not, a frame at a time."""

from __future__ import annotations

import gzip
import itertools
import math
import operator
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from serenity.qos.frame import BEST_EFFORT, COLUMNS, PRODUCTION, Container, Frame, Indicator, Node


class TraceError(ValueError):
    """No frame trace; the text names file and line."""


class _Indicator(msgspec.Struct, frozen=True):
    name: str
    unit: str = ""
    better: str = "lower"
    objective: float | None = None


class _Header(msgspec.Struct):
    trace: int
    interval_s: float = 1.0
    node: dict[str, float | None] = {}
    platform: str = ""


_WHO: list[Any] = [
    ("id", str),
    ("role", str),
    ("job", str, ""),
    ("cpus", float, 0.0),
    ("mem_bytes", float, 0.0),
    ("framework", str, ""),
    ("executor", str, ""),
    ("task", str, ""),
    ("container", str, ""),
    ("indicator", _Indicator | None, None),
]
# The names of columns are part of the format, and none of them is a container's own.
_Row = msgspec.defstruct("_Row", [*_WHO, *((name, float | None, None) for name in COLUMNS)], gc=False)
_who = operator.attrgetter(*(field[0] for field in _WHO))
_key = operator.attrgetter("id", "role", "cpus", "mem_bytes")  # The others of an id never change.
_values = operator.attrgetter(*COLUMNS)
_Line = msgspec.defstruct(
    "_Line",
    [
        ("t", float),
        ("containers", list[_Row]),  # type: ignore[valid-type]
        ("node", dict[str, float | None] | None, None),
        ("readings", dict[str, float] | None, None),
    ],
    gc=False,
)


class FrameDecoder:
    """Lines of a trace to frames.  While the same containers are there, frames share their tuple."""

    def __init__(self, node: Node = Node()) -> None:  # noqa: B008 - it is frozen
        self._node = node
        self._decoder = msgspec.json.Decoder(_Line)
        self._keys: list[Any] = []
        self._containers: tuple[Container, ...] = ()

    def decode(self, line: bytes) -> Frame:
        """Raises msgspec.ValidationError or msgspec.DecodeError: no frame."""
        said: Any = self._decoder.decode(line)
        rows = said.containers
        keys = list(map(_key, rows))
        if keys != self._keys:
            self._keys, self._containers = keys, tuple(map(_container, map(_who, rows)))
        values = list(itertools.chain.from_iterable(map(_values, rows)))
        matrix = np.array(values, dtype=np.float64).reshape(len(rows), len(COLUMNS)).T
        node = _node(said.node) if said.node else self._node
        columns = dict(zip(COLUMNS, np.ascontiguousarray(matrix), strict=True))
        return Frame(said.t, self._containers, columns, node, said.readings or {})


def read_trace(path: Path) -> Iterator[Frame]:
    """The frames of a trace, in order.

    Raises:
        TraceError: no such file, no trace, or a line that is no frame.
    """
    try:
        with _opened(path) as file:
            lines = iter(file)
            header = _header(path, lines)
            decoder = FrameDecoder(_node(header.node))
            last_t = -math.inf
            for number, line in enumerate(lines, 2):
                try:
                    frame = decoder.decode(line)
                except (msgspec.ValidationError, msgspec.DecodeError) as error:
                    raise TraceError(f"{path}: line {number} is no frame: {error}") from error
                if not frame.t > last_t:
                    raise TraceError(f"{path}: line {number}: t = {frame.t:g} does not come after {last_t:g}")
                last_t = frame.t
                yield frame
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{path} cannot be read: {reason}") from error


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _header(path: Path, lines: Iterable[bytes]) -> _Header:
    try:
        header = msgspec.json.decode(next(iter(lines)), type=_Header)
    except (StopIteration, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise TraceError(f'{path} does not begin with a header such as {{"trace": 1, "interval_s": 1.0}}') from error
    if header.trace != 1:
        raise TraceError(f"{path} is of trace format {header.trace}; this version reads format 1")
    return header


def _node(said: dict[str, float | None]) -> Node:
    return Node(**{name: value for name, value in said.items() if value is not None and name in Node.__slots__})


def _container(who: tuple[Any, ...]) -> Container:
    name, role, job, cpus, mem_bytes, framework, executor, task, container, indicator = who
    return Container(
        id=name,
        role=PRODUCTION if role == PRODUCTION else BEST_EFFORT,
        job=job,
        cpus=cpus,
        mem_bytes=mem_bytes,
        framework=framework,
        executor=executor,
        task=task,
        container=container,
        indicator=None if indicator is None else Indicator(*msgspec.structs.astuple(indicator)),
    )

"""Reading frames (docs/traces.md): a trace of JSON Lines, gzipped or not, and its lines as an estimator sends them."""

from __future__ import annotations

import itertools
import math
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from serenity.qos import gunzip
from serenity.qos.frame import COLUMNS, Container, Floats, Frame, Node
from serenity.wire.transport.undecodable import UNDECODABLE

# A line of a thousand containers is some hundred kilobytes.
_BUFFER_BYTES = 1 << 22


class TraceError(ValueError):
    """The file is no frame trace; the text names file and line."""


class _Header(msgspec.Struct):
    trace: int
    interval_s: float = 1.0
    node: dict[str, float | None] = {}
    platform: str = ""


def _line(row: Any) -> Any:
    node = ("node", dict[str, float | None] | None, None)
    fields: list[Any] = [("t", float), ("containers", list[row]), node, ("readings", dict[str, float] | None, None)]
    return msgspec.defstruct("_Line", fields, gc=False)


# Each line is decoded for its columns, and for the fields that tell whether the containers are still the same: ids,
# allocations and indicators.  For one id no other field ever changes.  An indicator appears once it can be asked, and
# may go; left undecoded (Raw) it costs next to nothing.  No column has the name of a field of containers.
_ID: Any = ("id", str)
_RAW_INDICATOR: Any = ("indicator", msgspec.Raw, None)
_ALLOCATED: list[Any] = [("cpus", float | None, 0.0), ("mem_bytes", float | None, 0.0)]
# If the containers are not the same, the line is decoded once more, for all fields of the containers.
_WHO = _line(Container)
_MEASURED: Any = msgspec.defstruct("_Measured", [(name, float | None, None) for name in COLUMNS], gc=False)


def frame_of(line: Mapping[str, Any]) -> Frame:
    """The frame of a line that is decoded already, with the columns that the line has.

    Several containers may have the same id here, which a trace may not have: an estimator of an earlier release passes
    on what executors named alike, and that must not cost the node's other executors their frames.

    Raises:
        ValueError: the line is no frame; the text says what is wrong.
    """
    try:
        said = msgspec.convert(line, _WHO)
        rows = msgspec.convert(line["containers"], list[_MEASURED])
    except msgspec.ValidationError as error:
        raise ValueError(f"no frame: {error}") from error
    measured = zip(COLUMNS, zip(*map(msgspec.structs.astuple, rows), strict=True), strict=False)
    columns = {name: np.array(each, dtype=np.float64) for name, each in measured if any(v is not None for v in each)}
    return Frame(said.t, tuple(said.containers), columns, _node(said.node or {}), said.readings or {})


class FrameDecoder:
    """Decodes lines of a trace to frames of some columns.  While the containers are the same, frames share a tuple."""

    def __init__(self, node: Node = Node(), columns: Collection[str] = COLUMNS) -> None:  # noqa: B008 - it is frozen
        self._node = node
        self._names = [name for name in COLUMNS if name in columns]
        measured: list[Any] = [(name, float | None, math.nan) for name in self._names]
        sample = msgspec.defstruct("_Sample", [_ID, _RAW_INDICATOR, *_ALLOCATED, *measured], gc=False)
        self._samples = msgspec.json.Decoder(_line(sample))
        self._who = msgspec.json.Decoder(_WHO)
        self._same: tuple[list[Any], list[Any]] = [], []  # Ids and indicators of the last line.
        self._allocated: Floats = np.zeros((len(_ALLOCATED), 0))
        self._containers: tuple[Container, ...] = ()

    def decode(self, line: bytes) -> Frame:
        """Raises UNDECODABLE: the line is no frame."""
        said: Any = self._samples.decode(line)
        values: list[Any] = list(itertools.chain.from_iterable(map(msgspec.structs.astuple, said.containers)))
        count = len(_ALLOCATED) + len(self._names)
        same = values[:: 2 + count], values[1 :: 2 + count]
        del values[:: 2 + count]
        del values[:: 1 + count]
        numbers = _array(values).reshape(-1, count).T.copy()
        allocated, measured = numbers[: len(_ALLOCATED)], numbers[len(_ALLOCATED) :]
        if same != self._same or not np.array_equal(allocated, self._allocated):
            self._containers = _distinct(self._who.decode(line).containers)
            self._same, self._allocated = same, allocated
        node = _node(said.node) if said.node else self._node
        return Frame(said.t, self._containers, dict(zip(self._names, measured, strict=True)), node, said.readings or {})


def _array(values: list[float | None]) -> Floats:
    try:
        return np.frombuffer(struct.pack(f"{len(values)}d", *values))  # Five times as fast as the way below.
    except struct.error:
        return np.array(values, dtype=np.float64)  # There are nulls, which become NaN.


def read_trace(path: Path, columns: Collection[str] = COLUMNS) -> Iterator[Frame]:
    """The frames of a trace, in order, with those of its `columns` that are asked for.

    Raises:
        TraceError: there is no such file, it is no trace, or a line is no frame.
    """
    try:
        with _opened(path) as file:
            lines = iter(file)
            header = _header(path, lines)
            decoder = FrameDecoder(_node(header.node), columns)
            last_t = -math.inf
            for number, line in enumerate(lines, 2):
                if line.isspace():
                    continue
                try:
                    frame = decoder.decode(line)
                except UNDECODABLE as error:
                    raise TraceError(f"{path}: line {number} is no frame: {error}") from error
                if not frame.t > last_t:
                    raise TraceError(f"{path}: line {number}: t = {frame.t:g} does not come after {last_t:g}")
                last_t = frame.t
                yield frame
    except (OSError, *gunzip.BROKEN) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{path} cannot be read: {reason}") from error


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gunzip.opened(path, _BUFFER_BYTES) if zipped else path.open("rb", buffering=_BUFFER_BYTES)


def _header(path: Path, lines: Iterable[bytes]) -> _Header:
    try:
        header = msgspec.json.decode(next(iter(lines), b""), type=_Header)
    except UNDECODABLE as error:
        example = '{"trace": 1, "interval_s": 1.0}'
        raise TraceError(f"{path} does not begin with a header such as {example}: {error}") from error
    if header.trace != 1:
        raise TraceError(f"{path} is of trace format {header.trace}; this version reads format 1")
    return header


def _node(said: dict[str, float | None]) -> Node:
    return Node(**{name: value for name, value in said.items() if value is not None and name in Node.__slots__})


def _distinct(containers: list[Container]) -> tuple[Container, ...]:
    """Raises UNDECODABLE: two containers have the same id, by which stages keep what they learn of each."""
    twice = [name for name, count in Counter(each.id for each in containers).items() if count > 1]
    if twice:
        raise msgspec.ValidationError(f"several containers have the id {twice[0]!r}")
    return tuple(containers)

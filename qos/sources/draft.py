"""A frame in the making, and the notes of what went wrong while it was made."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from serenity.qos.frame import Container, Floats, Frame, Node
from serenity.qos.sources.files import NODE
from serenity.qos.sources.processes import ProcessTable
from serenity.qos.sources.turns import Turns

if TYPE_CHECKING:
    from serenity.qos.sources.indicator import Declaration
    from serenity.wire.mesos.state import PerfSample

logger = logging.getLogger(__name__)

# Most characters logged of one error: it may quote an untrusted service's answer.
_TOLD_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Row:
    """What sources must know of a row beyond `Container`.

    `pid` is the root of the row's process tree; None while it starts.  `cgroup` is the path that
    the executor declared, below each v1 hierarchy or the v2 mount.
    """

    container: Container
    pid: int | None
    cgroup: str | None = None
    docker: bool = False  # The cgroups of `pid` are the container's, whatever they are called.
    declaration: Declaration | None = None
    perf: PerfSample | None = None  # Sampled by the agent.

    @property
    def id(self) -> str:
        return self.container.id


class Draft:
    """The rows of one sample, and the columns and readings that sources fill in.

    Before each row, and each process of one, a source gives others a turn.
    """

    def __init__(self, rows: Sequence[Row], look: Callable[[], ProcessTable], turns: Turns | None = None) -> None:
        self.rows = tuple(rows)
        self.turns = turns or Turns()
        self.readings: dict[str, float] = {}
        self._columns: dict[str, Floats] = {}
        self._look = look

    @cached_property
    def processes(self) -> ProcessTable:
        """All processes of the machine; read at most once a sample, and only if a source needs them."""
        return self._look()

    def fill(self, column: str, row: int, value: float | None) -> None:
        """`value` None: not measured."""
        if value is None:
            return
        values = self._columns.get(column)
        if values is None:
            values = self._columns[column] = np.full(len(self.rows), np.nan)
        values[row] = value

    def frame(self, t: float, node: Node) -> Frame:
        return Frame(t, tuple(row.container for row in self.rows), self._columns, node, self.readings)


class Faults:
    """Failed readings: each is counted, and logged once for each container, or once for the machine."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # By source.
        self._told: dict[str, set[str]] = {}  # Per row, the sources whose failure was logged.
        self._lacking: set[str] = set()

    def count(self, source: str, row_id: str, error: Exception | str) -> None:
        """One container's reading failed; the other containers are read all the same."""
        self.counts[source] += 1
        told = self._told.setdefault(row_id, set())
        if source not in told:
            told.add(source)
            logger.warning("%s of %s cannot be read, and is left out: %.*s", source, row_id, _TOLD_CHARACTERS, error)

    def lacks(self, what: str) -> None:
        """The machine lacks something; logged once."""
        if what not in self._lacking:
            self._lacking.add(what)
            logger.info("%s", what)

    def keep(self, row_ids: Collection[str]) -> None:
        """Forgets rows that are gone."""
        for gone in self._told.keys() - {*row_ids, NODE}:
            del self._told[gone]

"""The QoS pipeline: frames in, findings out, built from a TOML file.

The file has two tables.  ``[qos]`` is this pipeline: a list of filters, a list of detectors
and a strategy, each a table with a ``name`` and parameters.  ``[slack]`` is the estimator's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from serenity.daemon.settings import SettingsError, load_toml
from serenity.qos.contention import Contention, Finding
from serenity.qos.detectors import DETECTORS, ComparesJobs, Detector, LooksAtPressure
from serenity.qos.filters import FILTERS, Filter, KeepsBestEffort
from serenity.qos.frame import COLUMNS, Frame
from serenity.qos.stages import Kind, PipelineError, ReadsColumns, build
from serenity.qos.steady_time import SteadyTime
from serenity.qos.strategies import STRATEGIES, RanksByPressure, Strategy
from serenity.wire.messages.statistics import Cpi

DEFAULT_FILE = Path(__file__).with_name("default.toml")
_TABLES = ("qos", "slack")

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """A pipeline file as it was read; `qos` and `slack` are not checked yet."""

    path: Path
    qos: Mapping[str, Any]
    slack: Mapping[str, Any]

    @property
    def for_estimator_alone(self) -> bool:
        """It has no QoS pipeline, and need not."""
        return bool(self.slack) and not self.qos


def read(path: Path = DEFAULT_FILE) -> PipelineFile:
    """Raises PipelineError: not readable, no TOML, or with a table that means nothing here."""
    try:
        tables = load_toml(path)
    except SettingsError as error:
        raise PipelineError(str(error)) from error
    for name, table in tables.items():
        if name not in _TABLES:
            raise PipelineError(f"{path}: there is no table [{name}]; a pipeline file has [qos] and [slack]")
        if not isinstance(table, Mapping):
            raise PipelineError(f"{path}: {name} must be a table, written [{name}]")
    return PipelineFile(path, tables.get("qos", {}), tables.get("slack", {}))


class Pipeline:
    """Filters, then detectors, then the strategy, over one frame after another.

    What it decides depends on the frames alone: no clock, no randomness.  Where the frames' clock is set back,
    time goes on for its stages; what it says is told by that clock all the same, as it goes then.
    """

    def __init__(self, filters: Sequence[Filter], detectors: Sequence[Detector], strategy: Strategy) -> None:
        self._filters = tuple(filters)
        self._detectors = tuple(detectors)
        self._strategy = strategy
        self._steady = SteadyTime()
        # Detectors and strategy can share one Pressure if no filter changes best-effort rows, for then both see the
        # same data.
        keeps = all(isinstance(each, KeepsBestEffort) and each.keeps_best_effort for each in filters)
        if isinstance(strategy, RanksByPressure) and keeps:
            for detector in detectors:
                if isinstance(detector, LooksAtPressure):
                    detector.share(strategy.pressure)

    @classmethod
    def load(cls, path: Path = DEFAULT_FILE) -> Pipeline:
        """Raises PipelineError, naming file, key and remedy."""
        return cls.from_table(read(path))

    @classmethod
    def from_table(cls, file: PipelineFile) -> Pipeline:
        """Raises PipelineError."""
        where = f"{file.path}: [qos]"
        for key in file.qos:
            if key not in ("filters", "detectors", "strategy"):
                raise PipelineError(f"{where} has no key {key!r}; it has filters, detectors and strategy")
        columns = set(COLUMNS)
        kinds = {name: kind for name, kind in FILTERS.items() if not kind.of_production}
        filters = stages(kinds, file.qos.get("filters", []), f"{file.path}: [[qos.filters]]", columns)
        detectors = stages(DETECTORS, file.qos.get("detectors", []), f"{file.path}: [[qos.detectors]]", columns)
        if not detectors:
            raise PipelineError(
                f"{where} has no detectors and would never act; add a table [[qos.detectors]]"
                ' with name = "interference"'
            )
        if "strategy" not in file.qos:
            raise PipelineError(f'{where} has no strategy; add a table [qos.strategy] with name = "combined"')
        return cls(
            filters,
            detectors,
            build(STRATEGIES, file.qos["strategy"], f"{file.path}: [qos.strategy]"),
        )

    @property
    def reads(self) -> frozenset[str]:
        """The columns that its stages look at; all of them where a stage does not say which."""
        every = (*self._filters, *self._detectors, self._strategy)
        return frozenset().union(*(each.reads if isinstance(each, ReadsColumns) else COLUMNS for each in every))

    def step(self, frame: Frame) -> list[Finding]:
        """The contentions that hold at this frame, at most one a protected container, with their suspects.

        Where several detectors object to one container, the one named first in the file speaks.
        """
        frame = replace(frame, t=self._steady.of(frame.t))
        self._strategy.observe(frame)
        seen = frame
        for each in self._filters:
            seen = each.step(seen)
        found: dict[str, Contention] = {}
        for detector in self._detectors:
            for contention in detector.step(seen):
                found.setdefault(contention.protected.id, contention)
        # Suspects are ranked on the frame as it was sampled: a filter for signals must not acquit anybody.
        return [
            Finding(self._by_the_clock(each), self._strategy.name, tuple(self._strategy.rank(each, frame)))
            for each in found.values()
        ]

    def _by_the_clock(self, contention: Contention) -> Contention:
        """Evidence times on the frames' clock as it stands now.

        After a set-back, earlier moments are shifted too, so that their ages stay right.
        """
        ahead_s, told = self._steady.ahead_s, contention.evidence
        if not ahead_s:
            return contention
        start, end = told.window_start - ahead_s, told.window_end - ahead_s
        return replace(contention, evidence=replace(told, window_start=start, window_end=end))

    def know(self, jobs: Mapping[str, Cpi]) -> None:
        """What the cluster knows of production jobs, by name, on this type of CPU."""
        for detector in self._detectors:
            if isinstance(detector, ComparesJobs):
                detector.know(jobs)

    def relearn(self, protected_id: str) -> None:
        """Best-effort was absolved: what that container shows now is its new baseline."""
        for detector in self._detectors:
            detector.relearn(protected_id)
        self._strategy.absolve(protected_id)


def stages(kinds: Mapping[str, Kind[S]], entries: Any, where: str, columns: set[str]) -> list[S]:
    """Builds a list of stages.  Raises PipelineError; `where` is its array of tables, as in the file.

    `columns`: those that are filled before; what the stages derive is added.
    """
    if not isinstance(entries, list):
        raise PipelineError(f"{where} must be a list of tables, each begun by this line in double brackets")
    return [build(kinds, entry, f"{where} number {number}", columns) for number, entry in enumerate(entries, 1)]

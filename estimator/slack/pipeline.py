"""The slack pipeline: frames in, slack out, built from table ``[slack]`` of a pipeline file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from serenity.estimator.predictors import DEFAULT_PREDICTOR, PREDICTORS
from serenity.estimator.predictors.prediction import Json, Predictor
from serenity.estimator.predictors.rowwise import MOST_S
from serenity.estimator.predictors.sliding import SlidingMax
from serenity.estimator.slack.formula import Limits, Slack, slack
from serenity.estimator.slack.last_used import LastUsed
from serenity.estimator.slack.machine_memory import MachineMemory
from serenity.estimator.slack.nonsense import without_nonsense
from serenity.qos.filters import FILTERS, Filter
from serenity.qos.frame import COLUMNS, Bools, Frame
from serenity.qos.pipeline import PipelineFile, stages
from serenity.qos.rows import moved
from serenity.qos.stages import NOT_NEGATIVE, Parameters, PipelineError, build, convert, parameter
from serenity.qos.steady_time import SteadyTime


@dataclass(frozen=True)
class ReportParameters(Parameters):
    """When the agent is told of a change in the slack: a fall at once, a rise step by step: `[slack.report]`."""

    rise_s: float = parameter(5.0, "s", "how long a rise must have lasted before it is told", NOT_NEGATIVE)
    grow_s: float = parameter(
        5.0, "s", "over which a rise from nothing to all of the slack is told, part by part", NOT_NEGATIVE
    )
    dead_band_cpus: float = parameter(
        0.1, "cores", "a smaller change is not told: each rescinds the open offers", NOT_NEGATIVE
    )
    dead_band_mem_mb: float = parameter(
        64.0, "MiB", "a smaller change is not told: each rescinds the open offers", NOT_NEGATIVE
    )


@dataclass(frozen=True, slots=True)
class SlackStages:
    """What one `SlackPipeline` is made of: filters and predictor learn, and serve no second one."""

    filters: Sequence[Filter]
    predictor: Predictor
    limits: Limits
    report: ReportParameters
    learnt_by: Mapping[str, Any] = field(default_factory=dict)  # The predictor's name and parameters.

    @classmethod
    def from_file(cls, file: PipelineFile) -> SlackStages:
        """Raises PipelineError, naming file, key and remedy."""
        table, where = file.slack, f"{file.path}: [slack"
        for key in table:
            if key not in ("filters", "predictor", "limits", "report"):
                raise PipelineError(f"{where}] has no key {key!r}; it has filters, predictor, limits and report")
        chosen = table.get("predictor", {"name": DEFAULT_PREDICTOR})
        predictor = build(PREDICTORS, chosen, f"{where}.predictor]")
        given = {key: value for key, value in chosen.items() if key != "name"}
        parameters: Any = PREDICTORS[chosen["name"]].parameters(**given)
        return cls(
            stages(FILTERS, table.get("filters", []), f"{file.path}: [[slack.filters]]", set(COLUMNS)),
            predictor,
            convert(Limits, table.get("limits", {}), f"{where}.limits]"),
            convert(ReportParameters, table.get("report", {}), f"{where}.report]"),
            {"name": chosen["name"], **asdict(parameters)},
        )


class SlackPipeline:
    """Takes the senseless readings out of a frame, then applies filters, predictor and formula.

    Slack falls at once, but a rise counts only once it has lasted for `rise_s`: the result is the least slack of the
    last `rise_s` seconds.  It depends on the frames alone.  A production container that a filter leaves out counts at
    its allocation.
    """

    def __init__(self, pipeline: SlackStages) -> None:
        self._stages = pipeline
        self._steady = SteadyTime()
        self._least_cpus = SlidingMax(pipeline.report.rise_s)
        self._least_mem_bytes = SlidingMax(pipeline.report.rise_s)
        self._last_used = LastUsed()
        self._machine = MachineMemory(pipeline.report.rise_s)

    # Numbers that overflow show in the result, which is then not fresh: numpy need not warn of them.
    @np.errstate(all="ignore")
    def step(self, frame: Frame) -> Slack:
        frame, refused = without_nonsense(replace(frame, t=self._steady.of(frame.t)))
        seen = frame
        for each in self._stages.filters:
            seen = each.step(seen)
        production = frame.select(frame.production)
        prediction = self._stages.predictor.step(_as_seen(production, seen))
        others_bytes, limits = self._machine.others_bytes(frame), self._stages.limits
        now = slack(production, prediction.without(_left_out(production, seen)), others_bytes, limits)
        last_used = self._last_used.step(production, prediction)
        most = slack(production, prediction.where_unknown(last_used), others_bytes, limits)
        if self._machine.lost:
            now = replace(now, fresh=False, why=(*now.why, "the machine's memory cannot be read"))
        if refused:
            now = replace(now, why=(*now.why, f"readings that make no sense count as not measured: {refused}"))
        return replace(
            now,
            cpus=-self._least_cpus.add(frame.t, -now.cpus),
            mem_bytes=-self._least_mem_bytes.add(frame.t, -now.mem_bytes),
            at_most_cpus=most.cpus,
            at_most_mem_bytes=most.mem_bytes,
        )

    @property
    def learnt_by(self) -> Mapping[str, Any]:
        """The predictor's name and parameters: a state fits only a predictor with the same."""
        return self._stages.learnt_by

    def state(self) -> Json:
        """What was learnt, for JSON and for `restore` of a pipeline with the same predictor."""
        return {"t": self._steady.last_t, "predictor": self._stages.predictor.state()}

    def restore(self, state: Json) -> None:
        """To be called before the first frame.

        Raises:
            ValueError: `state` is no state of this pipeline; nothing is restored.
        """
        t, learnt = state.get("t"), state.get("predictor")
        if not isinstance(t, (int, float)) or not 0 <= t <= MOST_S or not isinstance(learnt, dict):
            raise ValueError("it has no t and predictor")
        self._stages.predictor.restore(learnt)
        self._steady = SteadyTime(float(t))


def _as_seen(production: Frame, seen: Frame) -> Frame:
    """All rows of `production` with the filters' values; rows that filters took out are there as not measured.

    A predictor forgets a container that is gone, and must not forget one that a filter leaves out for a second.
    """
    if seen.ids == production.ids:
        return seen
    at = seen.select(seen.production)
    row_of = {name: row for row, name in enumerate(at.ids)}
    rows = np.array([row_of.get(name, -1) for name in production.ids], dtype=np.intp)
    columns = {name: moved(values, rows, math.nan) for name, values in at.columns.items()}
    return replace(production, columns=columns)


def _left_out(production: Frame, seen: Frame) -> Bools:
    """Which rows of `production` the filters took out."""
    if seen.ids == production.ids:
        return np.zeros(len(production), dtype=np.bool_)
    left = set(seen.ids)
    return np.array([name not in left for name in production.ids], dtype=np.bool_)

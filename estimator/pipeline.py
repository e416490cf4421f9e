"""The slack pipeline: frames in, slack out, built from table ``[slack]`` of a pipeline file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from serenity.estimator.predictors import DEFAULT_PREDICTOR, PREDICTORS
from serenity.estimator.predictors.prediction import Json, Peaks, Prediction, Predictor
from serenity.estimator.report import ReportParameters
from serenity.estimator.slack import Limits, Slack, slack
from serenity.estimator.sliding import SlidingMax
from serenity.qos.filters import FILTERS, Filter
from serenity.qos.frame import COLUMNS, Frame
from serenity.qos.pipeline import PipelineFile, stages
from serenity.qos.rows import Places
from serenity.qos.stages import PipelineError, build, convert
from serenity.qos.steady_time import SteadyTime


@dataclass(frozen=True, slots=True)
class SlackStages:
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
    """Filters, predictor, formula; then fast down and slow up.

    A rise counts once it has lasted for `rise_s`: the result is the least slack of the last
    `rise_s` seconds.  It depends on the frames alone.  A production container that a filter leaves out
    counts at its allocation.
    """

    def __init__(self, pipeline: SlackStages) -> None:
        self._stages = pipeline
        self._steady = SteadyTime()
        self._least_cpus = SlidingMax(pipeline.report.rise_s)
        self._least_mem_bytes = SlidingMax(pipeline.report.rise_s)
        # Memory on the machine that is not best-effort's: one more series whose peak counts.
        self._other_mem_bytes = SlidingMax(pipeline.report.rise_s)

    def step(self, frame: Frame) -> Slack:
        frame = replace(frame, t=self._steady.of(frame.t))
        seen = frame
        for each in self._stages.filters:
            seen = each.step(seen)
        if not seen.production.all():
            seen = seen.select(seen.production)
        production = frame.select(frame.production)
        prediction = _of_all(production, seen, self._stages.predictor.step(seen))
        now = slack(production, prediction, self._other_mem(frame), self._stages.limits)
        return replace(
            now,
            cpus=-self._least_cpus.add(frame.t, -now.cpus),
            mem_bytes=-self._least_mem_bytes.add(frame.t, -now.mem_bytes),
        )

    def _other_mem(self, frame: Frame) -> float:
        used_bytes = frame.readings.get("mem_used_bytes", math.nan)
        if not math.isfinite(used_bytes):
            return math.nan
        # The machine does not count page cache as used: best-effort's, taken off, would raise the slack it runs on.
        not_cache_bytes = frame.column("rss_bytes") - np.nan_to_num(frame.column("cache_bytes"))
        return self._other_mem_bytes.add(frame.t, used_bytes - float(np.nansum(not_cache_bytes[~frame.production])))

    @property
    def learnt_by(self) -> Mapping[str, Any]:
        """The predictor's name and parameters: a state is one's of the same."""
        return self._stages.learnt_by

    def state(self) -> Json:
        """What was learnt, for JSON: `restore` of a pipeline with the same predictor takes it."""
        return {"t": self._steady.last_t, "predictor": self._stages.predictor.state()}

    def restore(self, state: Json) -> None:
        """Before the first frame.

        Raises:
            ValueError: that is no state of this pipeline; nothing is restored.
        """
        t, learnt = state.get("t"), state.get("predictor")
        if not isinstance(t, (int, float)) or not isinstance(learnt, dict):
            raise ValueError("it has no t and predictor")
        self._stages.predictor.restore(learnt)
        self._steady = SteadyTime(float(t))


def _of_all(production: Frame, seen: Frame, prediction: Prediction) -> Prediction:
    """The prediction with a row for each of `production`: NaN for those that the filters left out."""
    if seen.ids == production.ids:
        return prediction
    at = {name: row for row, name in enumerate(production.ids)}
    places = np.array([at[name] for name in seen.ids], dtype=np.intp)
    return Prediction(*(_spread(each, places, len(production)) for each in (prediction.cpus, prediction.mem_bytes)))


def _spread(peaks: Peaks, places: Places, count: int) -> Peaks:
    rows = np.full(count, np.nan)
    rows[places] = peaks.rows
    return Peaks(rows, peaks.together)

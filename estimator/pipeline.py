"""The slack pipeline: frames in, slack out, built from table ``[slack]`` of a pipeline file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from serenity.estimator.predictor import PREDICTORS, Peak
from serenity.estimator.report import ReportParameters
from serenity.estimator.slack import Limits, Slack, slack
from serenity.estimator.sliding import SlidingMax
from serenity.qos.filters import FILTERS, Filter
from serenity.qos.frame import COLUMNS, Frame
from serenity.qos.pipeline import PipelineFile, stages
from serenity.qos.stages import PipelineError, build, convert


@dataclass(frozen=True, slots=True)
class SlackStages:
    filters: Sequence[Filter]
    predictor: Peak
    limits: Limits
    report: ReportParameters

    @classmethod
    def from_file(cls, file: PipelineFile) -> SlackStages:
        """Raises PipelineError, naming file, key and remedy."""
        table, where = file.slack, f"{file.path}: [slack"
        for key in table:
            if key not in ("filters", "predictor", "limits", "report"):
                raise PipelineError(f"{where}] has no key {key!r}; it has filters, predictor, limits and report")
        return cls(
            stages(FILTERS, table.get("filters", []), f"{file.path}: [[slack.filters]]", set(COLUMNS)),
            build(PREDICTORS, table.get("predictor", {"name": "peak"}), f"{where}.predictor]"),
            convert(Limits, table.get("limits", {}), f"{where}.limits]"),
            convert(ReportParameters, table.get("report", {}), f"{where}.report]"),
        )


class SlackPipeline:
    """Filters, predictor, formula; then fast down and slow up.

    A rise counts once it has lasted for `rise_s`: the result is the least slack of the last
    `rise_s` seconds.  It depends on the frames alone.
    """

    def __init__(self, pipeline: SlackStages) -> None:
        self._stages = pipeline
        self._least_cpus = SlidingMax(pipeline.report.rise_s)
        self._least_mem_bytes = SlidingMax(pipeline.report.rise_s)
        # Memory on the machine that is not best-effort's: one more series whose peak counts.
        self._other_mem_bytes = SlidingMax(pipeline.report.rise_s)

    def step(self, frame: Frame) -> Slack:
        production = frame
        for each in self._stages.filters:
            production = each.step(production)
        production = production.select(production.production)
        prediction = self._stages.predictor.step(production)
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
        best_effort_bytes = float(np.nansum(frame.column("rss_bytes")[~frame.production]))
        return self._other_mem_bytes.add(frame.t, used_bytes - best_effort_bytes)

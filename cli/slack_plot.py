"""Draws a replay of slack: what production was allocated, used and was expected to use, the slack that was given, and
where it was too much."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter

from serenity.estimator.slack.formula import Slack
from serenity.estimator.slack.hindsight import Judgement, judge
from serenity.qos.frame import Floats, Frame

_INK, _GREY, _BLUE, _GREEN, _RED = "#22313f", "#8d99a6", "#2471a3", "#3f9b6c", "#c0392b"
# How far the default predictor looks ahead, and over what horizon it and its peers are judged (docs/slack.md).
_HORIZON_S = 1800.0
_HOUR_S = 3600.0


@dataclass
class _Resource:
    """One resource over time."""

    name: str
    unit: str
    allocated: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    slack: list[float] = field(default_factory=list)
    capacity: list[float] = field(default_factory=list)

    @property
    def room(self) -> Floats:
        """The slack if production were idle."""
        return np.fmin(self.allocated, self.capacity)

    @property
    def shown(self) -> bool:
        return bool(np.isfinite(self.capacity).any() and np.nanmax(self.used, initial=0.0) > 0)


class Drawing:
    """`add` every frame with the slack at it, then `save`."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._cpus, self._mem = _Resource("CPUs", "cores"), _Resource("memory", "bytes")

    def add(self, frame: Frame, slack: Slack) -> None:
        self._times.append(frame.t)
        production = frame.production
        for resource, allocated, column, capacity, told, predicted in (
            (self._cpus, frame.allocated_cpus, "cpu", frame.node.cpus, slack.cpus, slack.predicted_cpus),
            (
                self._mem,
                frame.allocated_mem_bytes,
                "rss_bytes",
                frame.node.mem_bytes,
                slack.mem_bytes,
                slack.predicted_mem_bytes,
            ),
        ):
            resource.allocated.append(float(allocated[production].sum()))
            resource.used.append(float(np.nansum(frame.column(column)[production])))
            resource.predicted.append(predicted)
            resource.slack.append(told)
            resource.capacity.append(capacity)

    def save(self, path: Path) -> None:
        """Raises OSError; ValueError: not a format that matplotlib writes, or nothing to draw."""
        shown = [each for each in (self._cpus, self._mem) if each.shown]
        if len(self._times) < 2 or not shown:
            raise ValueError("the trace has no production whose use was measured on a node of known capacity")
        t = np.array(self._times)
        figure, axes = pyplot.subplots(
            2 * len(shown),
            1,
            figsize=(14, 5.4 * len(shown) + 0.6),
            sharex=True,
            layout="constrained",
            squeeze=False,
            height_ratios=[1.3, 2] * len(shown),
        )
        titles = []
        for i, each in enumerate(shown):
            judgement = judge(t, np.array(each.used), np.array(each.slack), each.room, _HORIZON_S)
            _draw_node(axes[2 * i, 0], t, each, judgement)
            _draw_use(axes[2 * i + 1, 0], t, each, judgement)
            titles.append(_said(each.name, judgement))
        for each in axes[:, 0]:
            each.spines[["top", "right"]].set_visible(False)
            each.tick_params(labelsize=8)
            each.margins(x=0)
        _time_axis(axes[-1, 0], t)
        _legend(figure)
        figure.suptitle("\n".join(titles), x=0.01, ha="left", fontsize=11, color=_INK)
        figure.savefig(path, dpi=100)
        pyplot.close(figure)


def _draw_node(axes: Any, t: Floats, of: _Resource, judgement: Judgement) -> None:
    """The whole node, from the bottom up: what is used, the predicted peak of that, and the slack on top of it."""
    predicted, capacity = np.array(of.predicted), np.array(of.capacity)
    axes.fill_between(t, predicted, predicted + judgement.slack, step="post", color=_GREEN, alpha=0.22, lw=0)
    axes.fill_between(t, of.used, step="post", color=_INK, alpha=0.12, lw=0)
    axes.step(t, capacity, where="post", color=_GREY, lw=0.9, ls=(0, (1, 2)))
    axes.step(t, of.allocated, where="post", color=_GREY, lw=1.1)
    axes.step(t, predicted, where="post", color=_BLUE, lw=1.1)
    axes.step(t, of.used, where="post", color=_INK, lw=0.8)
    axes.set_ylim(0.0, 1.04 * max(float(np.nanmax(capacity)), *of.allocated))
    _label(axes, f"{of.name} of the node\n{of.unit}", of)


def _draw_use(axes: Any, t: Floats, of: _Resource, judgement: Judgement) -> None:
    """What the slack leaves to production, what production used, and the peak of its use that came."""
    left, came = of.room - judgement.slack, of.room - judgement.possible
    axes.fill_between(t, came, left, step="post", where=left >= came, color=_BLUE, alpha=0.1, lw=0)
    axes.step(t, came, where="post", color=_GREY, lw=1.0)
    axes.step(t, left, where="post", color=_BLUE, lw=1.4)
    axes.step(t, of.used, where="post", color=_INK, lw=0.8)
    for begin, end in _spans(t, judgement):
        axes.axvspan(begin, end, color=_RED, alpha=0.25, lw=0)
    # A quantile: the first frames, in which every container counts at its allocation, would dwarf the rest.
    high = max(float(np.quantile(left, 0.9)), float(np.nanmax(of.used)))
    low = float(np.nanmin(of.used))
    axes.set_ylim(max(0.0, low - 0.15 * (high - low)), high + 0.25 * (high - low) + 1e-9)
    _label(axes, f"production's {of.name}\n{of.unit}", of)


def _label(axes: Any, text: str, of: _Resource) -> None:
    axes.set_ylabel(text, fontsize=8)
    if of.unit == "bytes":
        axes.yaxis.set_major_formatter(EngFormatter(sep=" "))


def _spans(t: Floats, judgement: Judgement) -> list[tuple[float, float]]:
    """Begin and end of every time in which the slack was too much; one frame at least."""
    edges = np.diff(judgement.violates.astype(np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    return [(float(t[a]), float(t[min(int(b), len(t) - 1)])) for a, b in zip(begins, ends, strict=True)]


def _said(name: str, judgement: Judgement) -> str:
    if not judgement.judged.any():
        return f"{name}: shorter than half an hour, so nothing can be judged"
    return (
        f"{name}: {judgement.captured:.1%} of what could be given was given, too much "
        f"{judgement.violation_rate:.2%} of the time (99.9th percentile: by {judgement.excess_p999:.2%} of the node)"
    )


def _time_axis(axes: Any, t: Floats) -> None:
    if t[-1] - t[0] < 2 * _HOUR_S:
        axes.set_xlabel("seconds of the trace")
        return
    axes.xaxis.set_major_locator(matplotlib.ticker.MultipleLocator(_hours_apart(t[-1] - t[0]) * _HOUR_S))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / _HOUR_S:g} h"))


def _hours_apart(span_s: float) -> int:
    return next((each for each in (1, 2, 3, 6, 12, 24, 48) if span_s / (each * _HOUR_S) <= 16), 168)


def _legend(figure: Any) -> None:
    keys = [
        Line2D([], [], color=_GREY, lw=0.9, ls=(0, (1, 2)), label="capacity"),
        Line2D([], [], color=_GREY, lw=1.1, label="allocated (above), the peak that came within half an hour (below)"),
        Line2D([], [], color=_INK, lw=0.8, label="used"),
        Line2D([], [], color=_BLUE, lw=1.4, label="predicted peak (above), what slack leaves production (below)"),
        Patch(color=_GREEN, alpha=0.4, label="slack"),
        Patch(color=_RED, alpha=0.4, label="too much slack"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8, frameon=False)

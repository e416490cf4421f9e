"""Draws a replay: the signals that decisions rest on against their baselines, what was decided, who was suspected."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from serenity.qos.detectors.threshold import NODE_CPU
from serenity.qos.frame import COLUMNS, Floats, Frame
from serenity.qos.replay import Decision

_INK, _GREY = "#22313f", "#8d99a6"
_CAUSES = {
    "cpu": "#c0392b",
    "llc": "#e08a1e",
    "memory_bandwidth": "#8e6c0a",
    "io": "#2471a3",
    "memory": "#7d3c98",
    "slo": "#117a65",
    "overload": "#641e16",
    "unknown": "#566573",
}
# By cause, the column that shows what best-effort tasks press on; for other causes CPU, as activity in general.
_PRESSURES = {"llc": "llc_bytes", "memory_bandwidth": "mem_bw", "io": "io_bytes", "memory": "rss_bytes"}
_RATIOS = {
    "cpi": ("cycles", "instructions", 1.0),
    "mpki": ("llc_misses", "instructions", 1000.0),
    "run_delay": ("run_delay", "cpu", 1.0),
}
_UNITS = {"cpi": "CPI", "mpki": "misses / 1000 instr.", "run_delay": "s waited / CPU s", "cpu_granted": "share of CPU"}
_MOST_ROWS = 12  # The rows with most decisions; a picture of more cannot be read.
_BASELINE_S = 60.0  # The baseline's window outside contentions; in a contention the decision has a baseline.


class Drawing:
    """`add` every frame with the decisions made at it, then `save`."""

    def __init__(self) -> None:
        self._times: list[float] = []
        # For each frame the ids of its containers, and the values of COLUMNS, of shape (columns, containers).
        self._frames: list[tuple[list[str], Any]] = []
        self._production: set[str] = set()
        self._indicators: set[str] = set()
        self._decisions: dict[str, list[Decision]] = {}  # By protected container.

    def add(self, frame: Frame, decisions: Sequence[Decision]) -> None:
        self._times.append(frame.t)
        self._frames.append((frame.ids, np.array([frame.column(name) for name in COLUMNS], dtype=np.float32)))
        self._production.update(name for name, yes in zip(frame.ids, frame.production, strict=True) if yes)
        self._indicators.update(each.indicator.name for each in frame.containers if each.indicator is not None)
        for each in decisions:
            self._decisions.setdefault(each.protected, []).append(each)

    def save(self, path: Path) -> None:
        """Raises OSError; ValueError: not a format that matplotlib writes, or no production container."""
        if not self._production:
            raise ValueError("the trace has no production container")
        rows = self._rows()
        shown = sorted(rows[:_MOST_ROWS])
        names = dict.fromkeys(name for name, _ in shown)
        decided = [each for name in names for each in self._decisions.get(name, []) if each.action != "release"]
        pressures = list(dict.fromkeys(_PRESSURES.get(each.cause, "cpu") for each in decided)) or ["cpu"]
        count = len(shown) + len(pressures)
        figure, axes = pyplot.subplots(
            count, 1, figsize=(14, 1.7 * count + 1.2), sharex=True, layout="constrained", squeeze=False
        )
        for each, (name, signal) in zip(axes[: len(shown), 0], shown, strict=True):
            self._container(each, name, signal)
        for each, column in zip(axes[len(shown) :, 0], pressures, strict=True):
            self._best_effort(each, column, {each.suspects[0] for each in decided if each.suspects})
        for each in axes[:, 0]:
            each.spines[["top", "right"]].set_visible(False)
            each.tick_params(labelsize=8)
        axes[-1, 0].set_xlim(self._times[0], self._times[-1])
        axes[-1, 0].set_xlabel("seconds of the trace")
        self._legend(figure, decided, len(rows) - len(shown))
        figure.savefig(path, dpi=100)
        pyplot.close(figure)

    def _rows(self) -> list[tuple[str, str]]:
        """(container, signal its decisions rest on), most decisions first; CPI or run delay without decisions."""
        counts: dict[tuple[str, str], int] = {}
        for name in sorted(self._production):
            signals = [each.signal for each in self._decisions.get(name, []) if each.signal]
            for signal in signals or ["cpi" if np.isfinite(self.signal(name, "cpi")).any() else "run_delay"]:
                counts[name, signal] = counts.get((name, signal), 0) + len(signals)
        return sorted(counts, key=lambda row: (-counts[row], row))

    def signal(self, name: str, signal: str) -> Floats:
        """The values over time of a signal that decisions about container `name` rest on; NaN: not measured."""
        if signal in self._indicators:
            return self._column(name, "sli")
        if signal == NODE_CPU:
            at = list(COLUMNS).index("cpu")
            return np.array([np.nansum(measured[at]) for _, measured in self._frames])
        if signal in _RATIOS:
            above, below, scale = _RATIOS[signal]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio: Floats = scale * self._column(name, above) / self._column(name, below)
            return ratio
        if signal == "cpu_granted":
            cpu = self._column(name, "cpu")
            granted: Floats = cpu / (cpu + self._column(name, "run_delay"))
            return granted
        return self._column(name, signal)

    def _column(self, name: str, column: str) -> Floats:
        at, place, ids = list(COLUMNS).index(column), -1, None
        values = np.full(len(self._frames), np.nan)
        for i, (here, measured) in enumerate(self._frames):
            if here is not ids:
                ids, place = here, here.index(name) if name in here else -1
            if place >= 0:
                values[i] = measured[at, place]
        return values

    def _container(self, axes: Any, name: str, signal: str) -> None:
        t, values = np.array(self._times), self.signal(name, signal)
        axes.plot(t, values, color=_GREY, linewidth=0.6)
        episodes = list(self._episodes(name))
        axes.plot(t, baseline(t, values, signal, episodes), color=_INK, linewidth=1.3)
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, [0.5, 99.5]) if len(known) else (0.0, 1.0)
        room = max(high - low, 1e-3)
        axes.set_ylim(low - 0.1 * room, high + 0.35 * room)
        axes.set_ylabel(f"{name}\n{_UNITS.get(signal, signal)}", fontsize=8)
        labels = _Labels(axes, t[-1] - t[0])
        for decision, end in episodes:
            mine = decision.signal == signal
            axes.axvspan(decision.t, end, color=_CAUSES.get(decision.cause, _INK), alpha=0.25 if mine else 0.08, lw=0)
            if mine:
                suspect = decision.suspects[0] if decision.suspects else "nobody"
                labels.add(decision.t, f" {decision.cause}: {suspect}")

    def _episodes(self, name: str) -> Iterable[tuple[Decision, float]]:
        """Each decision to act, and its end: the next decision or release, else the end of the trace."""
        for each, after in itertools.pairwise([*self._decisions.get(name, []), None]):
            if each is not None and each.action != "release":
                yield each, self._times[-1] if after is None else after.t

    def _best_effort(self, axes: Any, column: str, accused: set[str]) -> None:
        t = np.array(self._times)
        here = {name for ids, _ in self._frames for name in ids} - self._production
        for name in sorted(here, key=lambda name: (name in accused, name)):
            use = self._column(name, column)
            if name in accused:
                axes.plot(t, use, linewidth=1.1, label=name)
            else:
                axes.plot(t, use, linewidth=0.5, color="#c5ccd3")
        axes.set_ylabel(f"best-effort\n{column}, {COLUMNS[column].unit}", fontsize=8)
        axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_formatter(EngFormatter())
        if accused & here:
            axes.legend(loc="upper right", ncols=8, fontsize=7, edgecolor="none")

    def _legend(self, figure: Any, decided: Sequence[Decision], hidden: int) -> None:
        causes = dict.fromkeys(each.cause for each in decided)
        keys = [
            Line2D([], [], color=_GREY, linewidth=0.8, label="signal"),
            Line2D([], [], color=_INK, linewidth=1.3, label="baseline"),
            *(Patch(color=_CAUSES.get(each, _INK), alpha=0.35, label=f"contention: {each}") for each in causes),
        ]
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys), fontsize=8, frameon=False)
        told = f"{len(decided)} decisions to act" if len(decided) != 1 else "1 decision to act"
        title = told + (f"; {hidden} rows with fewer are not shown" if hidden else "")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=_INK)


class _Labels:
    """Labels at points in time, stacked where the points are close together."""

    _LINES = 3
    _WIDTH = 0.16  # Of a usual label, as a share of the time that is shown.

    def __init__(self, axes: Any, span_s: float) -> None:
        self._axes = axes
        self._width_s = self._WIDTH * span_s
        self._until = [-np.inf] * self._LINES

    def add(self, at: float, text: str) -> None:
        line = int(np.argmin(np.array(self._until) > at)) if min(self._until) <= at else int(np.argmin(self._until))
        self._until[line] = at + self._width_s
        top = 1.0 - 0.14 * line
        where = self._axes.get_xaxis_transform()
        self._axes.text(at, top, text, transform=where, fontsize=7.5, color=_INK, va="top", clip_on=True)


def baseline(t: Floats, values: Floats, signal: str, episodes: Sequence[tuple[Decision, float]]) -> Floats:
    """The baseline: in a contention the decision's, else the median of the last `_BASELINE_S`, at 400 places at most.

    In a contention that another signal revealed, the baseline stays where it was.
    """
    calm = values.copy()
    for decision, end in episodes:
        calm[(t >= (decision.t if decision.onset is None else decision.onset)) & (t < end)] = np.nan
    places = np.unique(np.linspace(0, len(t) - 1, min(len(t), 400)).astype(int))
    medians = []
    for place in places:
        past = calm[np.searchsorted(t, t[place] - _BASELINE_S) : place + 1]
        medians.append(np.nanmedian(past) if np.isfinite(past).any() else np.nan)
    known = np.isfinite(medians)
    line: Floats = np.full(len(t), np.nan)
    if known.any():
        line = np.interp(t, t[places][known], np.array(medians)[known], left=np.nan)
        for decision, end in episodes:
            begins = decision.t if decision.onset is None else decision.onset
            inside = (t >= begins) & (t < end)
            line[inside] = line[max(0, int(np.searchsorted(t, begins)) - 1)]
    for decision, end in episodes:
        if decision.signal == signal and decision.baseline is not None:
            line[(t >= decision.t) & (t < end)] = decision.baseline
    return line

"""Draws a replay: each container's signals against their baselines, with what was decided and who was suspected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from serenity.qos.frame import Floats, Frame
from serenity.qos.replay import Decision

_INK = "#22313f"
_CAUSES = {
    "cpu": "#c0392b",
    "llc": "#e08a1e",
    "memory_bandwidth": "#b8860b",
    "io": "#2471a3",
    "memory": "#7d3c98",
    "slo": "#117a65",
    "overload": "#641e16",
    "unknown": "#566573",
}
_MOST_ROWS = 12  # The containers with most decisions; more are no picture.
_BASELINE_S = 300.0


class Drawing:
    """Give it every frame and what was decided at it, then `save`."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._signals: dict[str, list[tuple[float, float, float]]] = {}  # Production: (t, CPI, waiting a CPU second).
        self._use: dict[str, list[tuple[float, float]]] = {}  # Best-effort: (t, cores).
        self._decisions: list[Decision] = []

    def add(self, frame: Frame, decisions: Sequence[Decision]) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            cpi = frame.column("cycles") / frame.column("instructions")
            waits = frame.column("run_delay") / frame.column("cpu")
        cpu = frame.column("cpu")
        self._times.append(frame.t)
        for i, (name, production) in enumerate(zip(frame.ids, frame.production, strict=True)):
            if production:
                self._signals.setdefault(name, []).append((frame.t, float(cpi[i]), float(waits[i])))
            else:
                self._use.setdefault(name, []).append((frame.t, float(cpu[i])))
        self._decisions += decisions

    def save(self, path: Path) -> None:
        """Raises OSError; ValueError: not a format that matplotlib writes, or no production container."""
        names = sorted(self._signals, key=lambda name: (-sum(d.protected == name for d in self._decisions), name))
        shown = sorted(names[:_MOST_ROWS])
        if not shown:
            raise ValueError("the trace has no production container")
        figure, axes = pyplot.subplots(
            len(shown) + 1, 1, figsize=(14, 1.9 * len(shown) + 2.6), sharex=True, layout="constrained", squeeze=False
        )
        for each, name in zip(axes[:-1, 0], shown, strict=True):
            self._container(each, name)
        self._best_effort(axes[-1, 0])
        axes[-1, 0].set_xlabel("seconds of the trace")
        hidden = len(names) - len(shown)
        title = f"{sum(d.action != 'release' and d.onset is not None for d in self._decisions)} decisions"
        figure.suptitle(title + (f"; {hidden} containers with fewer are not shown" if hidden else ""), color=_INK)
        figure.savefig(path, dpi=100)
        pyplot.close(figure)

    def _container(self, axes: Any, name: str) -> None:
        rows = np.array(self._signals[name])
        t, cpi, waits = rows.T
        counted = bool(np.isfinite(cpi).any())
        signal, word = (cpi, "CPI") if counted else (waits, "s waited\na CPU s")
        axes.plot(t, signal, color="#7f8c9b", linewidth=0.6, label=word.replace("\n", " "))
        axes.plot(t, _running_median(t, signal), color=_INK, linewidth=1.2, label="median of 5 min before")
        low, high = np.nanpercentile(signal, [0.5, 99.5]) if np.isfinite(signal).any() else (0.0, 1.0)
        room = max(high - low, 1e-3)
        axes.set_ylim(low - 0.15 * room, high + 0.45 * room)
        axes.set_ylabel(f"{name}\n{word}", fontsize=8)
        self._episodes(axes, name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper right", fontsize=7, ncols=2, frameon=False)

    def _episodes(self, axes: Any, name: str) -> None:
        mine = [each for each in self._decisions if each.protected == name]
        top = axes.get_ylim()[1]
        for i, each in enumerate(mine):
            if each.action == "release":
                continue
            end = mine[i + 1].t if i + 1 < len(mine) else self._times[-1]
            colour = _CAUSES.get(each.cause, _INK)
            axes.axvspan(each.t, end, color=colour, alpha=0.22, linewidth=0)
            suspect = each.suspects[0] if each.suspects else "nobody"
            axes.text(each.t, top, f" {each.cause}: {suspect}", fontsize=6.5, color=colour, va="top", rotation=0)

    def _best_effort(self, axes: Any) -> None:
        accused = {each.suspects[0] for each in self._decisions if each.suspects}
        for name, rows in sorted(self._use.items()):
            t, cores = np.array(rows).T
            if name in accused:
                axes.plot(t, cores, linewidth=1.0, label=name)
            else:
                axes.plot(t, cores, linewidth=0.5, color="#c5ccd3", zorder=0)
        axes.set_ylabel("best-effort\ncores", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if accused & self._use.keys():
            axes.legend(loc="upper right", fontsize=7, ncols=6, frameon=False)


def _running_median(t: Floats, values: Floats) -> Floats:
    """Of the samples up to `_BASELINE_S` before, at 200 places at most, and straight lines between them."""
    places = np.unique(np.linspace(0, len(t) - 1, min(len(t), 200)).astype(int))
    medians = []
    for place in places:
        past = values[np.searchsorted(t, t[place] - _BASELINE_S) : place + 1]
        medians.append(np.nanmedian(past) if np.isfinite(past).any() else np.nan)
    between: Floats = np.interp(t, t[places], np.array(medians))
    return between

"""Draws the demo: throughput and latency over time, with the phases and the corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serenity.cli.demo.report import RECOVERED_SHARE, Measurements

_BANDS = {"alone": "#dfe8f2", "unprotected": "#f7dcd8", "protected": "#dcefdd"}
_INK = "#22313f"
_MARKS = {
    "throttle": ("v", "#e08a1e", "throttled"),
    "freeze": ("s", "#5b7fa6", "frozen"),
    "evict": ("X", "#c0392b", "evicted"),
    "release": ("^", "#2e8b57", "released"),
}


class NoMatplotlib(Exception):  # noqa: N818
    """matplotlib is not installed here."""


def draw(measured: Measurements, path: Path) -> None:
    """Raises NoMatplotlib, OSError."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise NoMatplotlib(str(error)) from error

    start = measured.phases[0].start
    times = [each.t - start for each in measured.seconds]
    figure, (throughput, latency) = pyplot.subplots(
        2, 1, figsize=(12, 6.5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    _throughput(throughput, measured, times, start)
    _latency(latency, measured, times)
    for axes in (throughput, latency):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, measured.phases[-1].end - start)
    latency.set_xlabel("seconds")
    figure.suptitle(_title(measured), fontsize=13, color=_INK, x=0.01, ha="left", fontweight="bold")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _title(measured: Measurements) -> str:
    alone = measured.figures("alone").ops_per_s
    share = {name: measured.figures(name).ops_per_s / alone for name in ("unprotected", "protected")}
    return (
        f"{measured.setting['service']} beside best-effort aggressors: "
        f"{share['unprotected']:.0%} of its throughput unprotected, {share['protected']:.0%} with Serenity"
    )


def _throughput(axes: Any, measured: Measurements, times: list[float], start: float) -> None:
    alone = measured.figures("alone").ops_per_s / 1000
    values = [each.ops_per_s / 1000 for each in measured.seconds]
    top = max([alone, *values]) * 1.32
    axes.set_ylim(0, top)
    axes.set_ylabel("throughput, thousand ops/s")
    for phase in measured.phases:
        axes.axvspan(phase.start - start, phase.end - start, color=_BANDS[phase.name], lw=0, zorder=0)
        share = measured.figures(phase.name).ops_per_s / 1000 / alone
        axes.text(
            (phase.start + phase.end) / 2 - start,
            top * 0.985,
            f"{phase.name}\n{share:.0%}",
            ha="center",
            va="top",
            fontsize=11,
            fontweight="bold",
            color=_INK,
        )
    between = (measured.phase("unprotected").end + measured.phase("protected").start) / 2 - start
    axes.text(between, top * 0.12, "aggressors\nstopped", ha="center", va="bottom", fontsize=8, color=_INK, alpha=0.7)
    axes.axhline(alone, color=_INK, lw=0.8, ls=":", zorder=1)
    axes.axhline(RECOVERED_SHARE * alone, color="#2e8b57", lw=0.8, ls="--", zorder=1)
    end = measured.phases[-1].end - start - 0.5
    text = f"{RECOVERED_SHARE:.0%} of alone"
    axes.text(end, RECOVERED_SHARE * alone * 0.99, text, fontsize=8, va="top", ha="right", color="#2e8b57")
    axes.fill_between(times, values, color="#3b6ea5", alpha=0.18, lw=0, zorder=2)
    axes.plot(times, values, color="#2b5c8f", lw=1.8, zorder=3)
    _corrections(axes, measured, start, top)


def _corrections(axes: Any, measured: Measurements, start: float, top: float) -> None:
    """A row of marks for each kind, below the phases' names, so that none hides the curve."""
    height = top * 0.86
    for action, (marker, colour, word) in _MARKS.items():
        at = [each.at - start for each in measured.corrections if each.action == action]
        if not at:
            continue
        axes.scatter(at, [height] * len(at), marker=marker, s=55, color=colour, zorder=5, label=f"{word} ({len(at)})")
        for when in at:
            axes.plot([when, when], [0, height], color=colour, lw=0.7, alpha=0.35, zorder=1)
        height -= top * 0.035
    onset = measured.onset - start
    axes.annotate(
        "aggressors start",
        (onset, 0),
        (onset, top * 0.05),
        fontsize=8,
        color=_INK,
        ha="left",
        arrowprops={"arrowstyle": "-", "lw": 0.8, "color": _INK},
    )
    if axes.get_legend_handles_labels()[0]:  # There were corrections.
        axes.legend(loc="lower left", frameon=False, fontsize=9)


def _latency(axes: Any, measured: Measurements, times: list[float]) -> None:
    axes.plot(times, [max(1.0, each.p99_ms) for each in measured.seconds], color="#8e5ea2", lw=1.4)
    axes.set_yscale("log")
    axes.set_ylabel("p99, ms")
    axes.grid(axis="y", lw=0.4, alpha=0.6)

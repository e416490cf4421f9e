"""Strategies that rank by one thing that is seen of a row now."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serenity.qos.contention import Contention, Suspect
from serenity.qos.frame import Frame
from serenity.qos.stages import NoParameters, parameter


class Seniority:
    """Ranks best-effort rows by age, youngest first.

    The score is 1 / (1 + age in s), age since it was first seen.  Source: Serenity's seniority
    strategy (2016): who came last has the least to lose, and is the likeliest to have changed something.
    """

    name = "seniority"

    def __init__(self, parameters: NoParameters = NoParameters()) -> None:  # noqa: B008 - it has no state
        self._first_seen: dict[str, float] = {}

    def observe(self, frame: Frame) -> None:
        self._first_seen = {name: self._first_seen.get(name, frame.t) for name in frame.ids}

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        rows = [each for each, production in zip(frame.containers, frame.production, strict=True) if not production]
        ages = [frame.t - self._first_seen.get(each.id, frame.t) for each in rows]
        return sorted(
            (Suspect(each, 1.0 / (1.0 + age)) for each, age in zip(rows, ages, strict=True)), key=lambda s: -s.score
        )


@dataclass(frozen=True)
class ShareParameters:
    min_share: float = parameter(0.0, "share", "who has less of all best-effort use is no suspect")

    def __post_init__(self) -> None:
        if not 0 <= self.min_share < 1:
            raise ValueError(f"min_share = {self.min_share}; it is a share, from 0 to below 1")


class _Share:
    name = ""
    _column = ""

    def __init__(self, parameters: ShareParameters) -> None:
        self._min_share = parameters.min_share

    def observe(self, frame: Frame) -> None:
        """It needs no past."""

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        best_effort = frame.select(~frame.production)
        use = np.nan_to_num(best_effort.column(self._column), nan=0.0)
        shares = use / (use.sum() or 1.0)
        ranked = (Suspect(each, float(s)) for each, s in zip(best_effort.containers, shares, strict=True))
        return sorted((each for each in ranked if each.score >= self._min_share), key=lambda s: -s.score)


class Occupancy(_Share):
    """Ranks best-effort rows by their share of best-effort's last-level cache occupancy (``llc_bytes``).

    Not measured counts as none; shares below `min_share` are no suspects.  Source: Serenity's
    cache occupancy strategy (2016), which takes those with at least the mean.
    """

    name = "occupancy"
    _column = "llc_bytes"


class Bandwidth(_Share):
    """Ranks best-effort rows by their share of best-effort's memory bandwidth (``mem_bw``).

    Not measured counts as none; shares below `min_share` are no suspects.
    """

    name = "bandwidth"
    _column = "mem_bw"


@dataclass(frozen=True)
class CorrelationParameters:
    window_s: float = parameter(600.0, "s", "over which use and CPI are compared")
    min_score: float = parameter(0.35, "", "who scores less is no suspect")

    def __post_init__(self) -> None:
        if not self.window_s > 0:
            raise ValueError(f"window_s = {self.window_s}; it must be greater than 0")


class Correlation:
    """Ranks best-effort rows by how their CPU use goes with the protected container's CPI (CPI²).

        score = Σ u (1 - θ / c)  where the CPI c > θ,   + Σ u (c / θ - 1)  where c < θ

    over `window_s`, with u the row's share of its own CPU use in the window (Σ u = 1), and θ the
    CPI's mean plus two standard deviations in it.  Positive when it runs while the victim is
    slow; at most 1.  Source: Zhang et al., CPI²: CPU performance isolation for shared compute
    clusters, EuroSys 2013, section 4.2, where 0.35 is the threshold.
    """

    name = "correlation"

    def __init__(self, parameters: CorrelationParameters) -> None:
        self._parameters = parameters
        self._past: list[tuple[float, dict[str, tuple[float, float]]]] = []  # (t, id → (cpi, cpu))

    def observe(self, frame: Frame) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            cpi = frame.column("cycles") / frame.column("instructions")
        cpu = frame.column("cpu")
        self._past.append((frame.t, {name: (float(cpi[i]), float(cpu[i])) for i, name in enumerate(frame.ids)}))
        while self._past[0][0] < frame.t - self._parameters.window_s:
            del self._past[0]

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        nothing = (math.nan, math.nan)
        cpi = np.array([rows.get(contention.protected.id, nothing)[0] for _, rows in self._past])
        measured = np.isfinite(cpi)
        if not measured.any():
            return []
        theta = float(cpi[measured].mean() + 2.0 * cpi[measured].std())
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(measured, np.where(cpi > theta, 1.0 - theta / cpi, cpi / theta - 1.0), 0.0)
        suspects = []
        for container, production in zip(frame.containers, frame.production, strict=True):
            if production:
                continue
            use = np.nan_to_num(np.array([rows.get(container.id, nothing)[1] for _, rows in self._past]))
            score = float(weight @ use / (use[measured].sum() or 1.0))
            if score >= self._parameters.min_score:
                suspects.append(Suspect(container, score))
        return sorted(suspects, key=lambda each: -each.score)

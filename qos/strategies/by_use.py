"""Strategies that rank by one property of each row: its age, its share of use, its correlation with CPI."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from serenity.qos.contention import Contention, Suspect
from serenity.qos.frame import Floats, Frame
from serenity.qos.stages import POSITIVE, NoParameters, Parameters, Range, parameter
from serenity.qos.strategies.ages import Ages


class Seniority:
    """Ranks best-effort rows by age, youngest first.

    The score is 1 / (1 + age in s), age since it was first seen.  Source: Serenity's seniority
    strategy (2016): the task that came last has the least to lose, and is the likeliest to have changed something.
    """

    name = "seniority"

    def __init__(self, parameters: NoParameters = NoParameters()) -> None:  # noqa: B008 - it has no state
        self._ages = Ages()

    def observe(self, frame: Frame) -> None:
        self._ages.observe(frame)

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        rows = [each for each, production in zip(frame.containers, frame.production, strict=True) if not production]
        suspects = (Suspect(each, 1.0 / (1.0 + self._ages.age_s(each.id))) for each in rows)
        return sorted(suspects, key=lambda s: -s.score)

    def absolve(self, protected_id: str) -> None:
        """It remembers nothing of anybody's guilt."""


@dataclass(frozen=True)
class ShareParameters(Parameters):
    min_share: float = parameter(
        0.0, "share", "who has less of all best-effort use is no suspect", Range(at_least=0.0, below=1.0)
    )


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

    def absolve(self, protected_id: str) -> None:
        """It remembers nothing of anybody's guilt."""


class CacheOccupancy(_Share):
    """Ranks best-effort rows by their share of best-effort's last-level cache occupancy (``llc_bytes``).

    A row that was not measured counts as none; rows with a share below `min_share` are no suspects.  Source: Serenity's
    cache occupancy strategy (2016), which takes the rows with at least the mean occupancy.
    """

    name = "cache_occupancy"
    _column = "llc_bytes"


class Bandwidth(_Share):
    """Ranks best-effort rows by their share of best-effort's memory bandwidth (``mem_bw``).

    A row that was not measured counts as none; rows with a share below `min_share` are no suspects.  Source: ours,
    after `cache_occupancy`.
    """

    name = "bandwidth"
    _column = "mem_bw"


@dataclass(frozen=True)
class CorrelationParameters(Parameters):
    window_s: float = parameter(600.0, "s", "over which use and CPI are compared", POSITIVE)
    min_score: float = parameter(0.35, "", "who scores less is no suspect")


class Correlation:
    """Ranks best-effort rows by how their CPU use goes with the protected container's CPI (CPI²).

        score = Σ u (1 - θ / c)  where the CPI c > θ,   + Σ u (c / θ - 1)  where c < θ

    over `window_s`, with u each frame's share of the row's own CPU use in the window (Σ u = 1), and θ the CPI at which
    the detector fires; if it goes by another signal, the mean of the CPI plus two standard deviations in the window.
    The score is positive when the row runs while the victim is slow; at most 1.  Source: Zhang et al., CPI²: CPU
    performance isolation for shared compute clusters, EuroSys 2013, section 4.2, where 0.35 is the threshold.
    """

    name = "correlation"

    def __init__(self, parameters: CorrelationParameters) -> None:
        self._parameters = parameters
        self._past: deque[tuple[float, list[str], Floats, Floats]] = deque()  # (t, ids, CPI, cpu)

    def observe(self, frame: Frame) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            cpi = frame.column("cycles") / frame.column("instructions")
        self._past.append((frame.t, frame.ids, cpi, frame.column("cpu")))
        while self._past[0][0] < frame.t - self._parameters.window_s:
            self._past.popleft()

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        best_effort = [each for each, yes in zip(frame.containers, frame.production, strict=True) if not yes]
        seen = contention.evidence
        cpi, use = self._series(contention.protected.id, [each.id for each in best_effort])
        measured = np.isfinite(cpi)
        if not measured.any():
            return []
        if seen.signal == "cpi":
            theta = seen.baseline * (1.0 + seen.threshold)
        else:  # Good for short contentions: a slow fifth of the window lies within two deviations of the mean.
            theta = float(cpi[measured].mean() + 2.0 * cpi[measured].std())
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(measured, np.where(cpi > theta, 1.0 - theta / cpi, cpi / theta - 1.0), 0.0)
        use = np.nan_to_num(use)
        total = use[measured].sum(axis=0)
        scores = weight @ use / np.where(total > 0, total, 1.0)
        suspects = map(Suspect, best_effort, scores.tolist())
        return sorted((each for each in suspects if each.score >= self._parameters.min_score), key=lambda s: -s.score)

    def _series(self, protected: str, others: list[str]) -> tuple[Floats, Floats]:
        """CPI of `protected`, (frames,), and CPU use of `others`, (frames, others); NaN: not there or not measured."""
        cpi, use = np.full(len(self._past), np.nan), np.full((len(self._past), len(others)), np.nan)
        known: list[str] | None = None
        at: dict[str, int] = {}
        for k, (_, ids, cpis, cpus) in enumerate(self._past):
            if ids is not known:
                known, at = ids, {name: place for place, name in enumerate(ids)}
                here = [i for i, name in enumerate(others) if name in at]
                places = [at[others[i]] for i in here]
            use[k, here] = cpus[places]
            if protected in at:
                cpi[k] = cpis[at[protected]]
        return cpi, use

    def absolve(self, protected_id: str) -> None:
        """It remembers nothing of anybody's guilt."""

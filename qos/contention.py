"""Contentions, which detectors report, and suspects, which strategies rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from serenity.qos.frame import Container

Cause = Literal["cpu", "llc", "memory_bandwidth", "memory", "io", "slo", "overload", "unknown"]
CAUSES: tuple[str, ...] = get_args(Cause)
Parameters = Mapping[str, float | int | str | bool]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the detector measured on the protected container.

    `deviation` is (observed - baseline) / baseline, signed; `threshold` is the deviation at
    which the detector fires.  The window is in seconds of the frames' time.
    """

    signal: str  # A column, or an indicator's own name.
    unit: str
    observed: float
    baseline: float
    deviation: float
    threshold: float
    window_start: float
    window_end: float
    samples: int
    missing: int


@dataclass(frozen=True, slots=True)
class Contention:
    """A production container suffers.  Reported anew at every frame for as long as it holds.

    `severity` is the share of its work that the container loses, from 0, none, to 1, all; from a detector with a
    threshold, how far the signal is beyond that.
    """

    cause: Cause
    protected: Container
    severity: float
    evidence: Evidence
    detector: str
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A best-effort row that may be the cause; `score` is comparable within one ranking only."""

    container: Container
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)  # What each part of the strategy gave.


@dataclass(frozen=True, slots=True)
class Finding:
    """One contention with its ranking, most suspicious first; what the ladder acts on."""

    contention: Contention
    strategy: str
    suspects: tuple[Suspect, ...]

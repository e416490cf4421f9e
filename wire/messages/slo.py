"""How well production services do: ``GET`` and ``POST /v1/slo``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class SloReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A production framework's report on one of its services, for the time since its last report."""

    service: _Name
    indicator: _Name
    better: Literal["higher", "lower"]
    value: float  # Now.
    unit: Annotated[str, msgspec.Meta(max_length=64)] = ""
    objective: float | None = None  # At least this if higher is better, else at most this.
    seconds: Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)] = 60.0  # The time that `value` stands for.


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Five minutes of a service, all its containers together.  `start`: seconds since the epoch."""

    start: float
    measured_s: float
    met_s: float
    corrections: int


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`now` is None without a recent report, `met_…` (shares) without an objective.

    `framework` is the Mesos framework's id, or the name of the reporter.  `corrected_…`: corrections of best-effort
    tasks for this service's sake.  `history`: the last day, the oldest first.
    """

    framework: str
    service: str
    indicator: str
    unit: str
    better: Literal["higher", "lower"]
    objective: float | None
    now: float | None
    met_last_hour: float | None
    met_last_day: float | None
    corrected_last_hour: int
    corrected_last_day: int
    history: tuple[Period, ...]


class Services(msgspec.Struct, frozen=True, kw_only=True):
    services: tuple[Service, ...]

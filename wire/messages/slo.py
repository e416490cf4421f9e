"""How production services do: ``GET`` and ``POST /v1/slo``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class SloReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a production framework says of one of its services, for the time since it said so last."""

    service: _Name
    indicator: _Name
    better: Literal["higher", "lower"]
    value: float  # Now.
    unit: Annotated[str, msgspec.Meta(max_length=64)] = ""
    objective: float | None = None  # At least this where higher is better, else at most.
    seconds: Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)] = 60.0  # That the value stands for.


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Five minutes of a service, all its containers together.  `start`: seconds since the epoch."""

    start: float
    measured_s: float
    met_s: float
    corrections: int


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`now` is None when nobody has told lately, the shares where there is no objective.

    `framework` is the Mesos framework's id, or who reported it.  `corrected_…`: corrections of
    best-effort tasks for its sake.  `history`: the last day, the oldest first.
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

"""How production services do: objective, now, the share of time in which it was met, what was corrected for it.

Executors tell of the indicators that tasks declare (labels ``serenity.sli…``); a production
framework may also report its own (``POST /v1/slo``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from serenity.framework.cluster.kept import SloPeriod
from serenity.wire.messages.statistics import Slo

BIN_S = 300.0
HISTORY_S = 86_400.0
# Whoever has not told of a service for so long does not run it any more.
_STALE_S = 180.0
_MOST = 2_000


@dataclass(slots=True)
class Bin:
    """`start`: seconds since the epoch, a multiple of `BIN_S`."""

    start: float
    measured_s: float = 0.0
    met_s: float = 0.0
    corrections: int = 0


@dataclass(slots=True)
class Service:
    """`values` by who told them, each with when; bins from the oldest to the newest."""

    framework: str
    name: str
    indicator: str
    unit: str
    better: Literal["higher", "lower"]
    objective: float | None
    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    bins: deque[Bin] = field(default_factory=lambda: deque(maxlen=round(HISTORY_S / BIN_S)))

    def now(self, now_s: float) -> float | None:
        """The worst value that was told lately; None: none was."""
        self.values = {who: told for who, told in self.values.items() if now_s - told[0] < _STALE_S}
        worst = min if self.better == "higher" else max
        return worst((value for _, value in self.values.values()), default=None)

    def share_met(self, now_s: float, last_s: float = HISTORY_S) -> float | None:
        """Of all its containers' time, as far as the indicator was known then; None without objective or time."""
        recent = [each for each in self.bins if each.start > now_s - last_s - BIN_S]
        measured_s = sum(each.measured_s for each in recent)
        if self.objective is None or measured_s <= 0:
            return None
        return sum(each.met_s for each in recent) / measured_s

    def corrections(self, now_s: float, last_s: float = HISTORY_S) -> int:
        return sum(each.corrections for each in self.bins if each.start > now_s - last_s - BIN_S)

    def bin_at(self, now_s: float) -> Bin:
        start = now_s - now_s % BIN_S
        if not self.bins or start > self.bins[-1].start:
            self.bins.append(Bin(start))
        return self.bins[-1]


class Services:
    """By framework and name; the service that was heard of last stands last."""

    def __init__(self, kept: Iterable[SloPeriod] = ()) -> None:
        self._services: dict[tuple[str, str], Service] = {}
        self._changed: dict[tuple[str, str, float], None] = {}
        for each in sorted(kept, key=lambda each: each.start):
            service = self._service((each.framework, each.service), each)
            service.bins.append(Bin(each.start, each.measured_s, each.met_s, each.corrections))

    def told(self, framework: str, name: str, who: str, slo: Slo, now_s: float) -> Service:
        """`who`: an agent, or whoever reports the service's indicator itself."""
        service = self._service((framework, name), slo)
        service.values[who] = now_s, slo.now
        current = service.bin_at(now_s)
        current.measured_s += slo.measured_s
        current.met_s += slo.met_s
        self._changed[framework, name, current.start] = None
        return service

    def corrected(self, framework: str, name: str, now_s: float) -> None:
        """Something was done to best-effort for the service's sake; not noted of a service without an indicator."""
        service = self._services.get((framework, name))
        if service is not None:
            current = service.bin_at(now_s)
            current.corrections += 1
            self._changed[framework, name, current.start] = None

    def changed(self, most: int) -> list[SloPeriod]:
        """At most `most` of the periods that have changed since they were returned here last."""
        keys = list(self._changed)[:most]
        for key in keys:
            del self._changed[key]
        return [period for key in keys if (period := self._period(*key)) is not None]

    def current(self, now_s: float) -> list[Service]:
        """The services with any history, by framework and name."""
        over = [key for key, each in self._services.items() if each.bins[-1].start < now_s - HISTORY_S - BIN_S]
        for key in over:
            del self._services[key]
        return [self._services[key] for key in sorted(self._services)]

    def _service(self, key: tuple[str, str], told: Slo | SloPeriod) -> Service:
        """The service of that key; with another indicator than before it begins anew."""
        service = self._services.pop(key, None)
        if service is None or (service.indicator, service.unit, service.better) != (
            told.indicator, told.unit, told.better
        ):  # fmt: skip
            service = Service(*key, told.indicator, told.unit, told.better, told.objective)
        service.objective = told.objective
        self._services[key] = service
        while len(self._services) > _MOST:
            del self._services[next(iter(self._services))]
        return service

    def _period(self, framework: str, name: str, start: float) -> SloPeriod | None:
        service = self._services.get((framework, name))
        each = next((each for each in reversed(service.bins) if each.start == start), None) if service else None
        if service is None or each is None:
            return None
        return SloPeriod(
            framework=framework,
            service=name,
            start=start,
            indicator=service.indicator,
            unit=service.unit,
            better=service.better,
            objective=service.objective,
            measured_s=each.measured_s,
            met_s=each.met_s,
            corrections=each.corrections,
        )

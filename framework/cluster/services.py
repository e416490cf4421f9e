"""How production services do: objective, now, the share of time in which it was met, what was corrected for it.

Executors tell of the indicators that tasks declare (labels ``serenity.sli…``); a production
framework may also report its own (``POST /v1/slo``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

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
    """`now` by who told it, each with when; bins from the oldest to the newest."""

    framework: str
    name: str
    indicator: str
    unit: str
    better: Literal["higher", "lower"]
    objective: float | None
    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    bins: deque[Bin] = field(default_factory=lambda: deque(maxlen=round(HISTORY_S / BIN_S)))

    def now(self, now_s: float) -> float | None:
        """The worst that was told lately; None: nobody has."""
        self.values = {who: told for who, told in self.values.items() if now_s - told[0] < _STALE_S}
        worst = min if self.better == "higher" else max
        return worst((value for _, value in self.values.values()), default=None)

    def share_met(self, now_s: float, last_s: float = HISTORY_S) -> float | None:
        """Of the time of all its containers in which the indicator was known; None without objective or time."""
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
    """By framework and name; who was heard of last stands last."""

    def __init__(self) -> None:
        self._services: dict[tuple[str, str], Service] = {}

    def told(self, framework: str, name: str, who: str, slo: Slo, now_s: float) -> Service:
        """`who`: an agent, or whoever reports the service's indicator itself."""
        key = framework, name
        service = self._services.pop(key, None)
        if service is None or (service.indicator, service.unit, service.better) != (
            slo.indicator, slo.unit, slo.better
        ):  # fmt: skip
            service = Service(framework, name, slo.indicator, slo.unit, slo.better, slo.objective)
        service.objective = slo.objective
        service.values[who] = now_s, slo.now
        current = service.bin_at(now_s)
        current.measured_s += slo.measured_s
        current.met_s += slo.met_s
        self._services[key] = service
        while len(self._services) > _MOST:
            del self._services[next(iter(self._services))]
        return service

    def corrected(self, framework: str, name: str, now_s: float) -> None:
        """Something was done to best-effort for its sake; not noted of what has no indicator."""
        service = self._services.get((framework, name))
        if service is not None:
            service.bin_at(now_s).corrections += 1

    def current(self, now_s: float) -> list[Service]:
        """Those with any history, by framework and name."""
        over = [key for key, each in self._services.items() if each.bins[-1].start < now_s - HISTORY_S - BIN_S]
        for key in over:
            del self._services[key]
        return [self._services[key] for key in sorted(self._services)]

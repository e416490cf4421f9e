"""Metrics declared in one table, counted anywhere, shown as Prometheus text.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` ends in its unit, and in ``_total`` if it is a counter."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str


class MetricsTable:
    """The values of a fixed set of metrics.  May be used from several threads."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self._metrics = {metric.name: metric for metric in metrics}
        self._values: dict[str, dict[Labels, float]] = {metric.name: {} for metric in metrics}
        self._lock = threading.Lock()

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Adds to a counter.  Raises KeyError for a metric that is not in the table."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            values = self._values[name]
            values[key] = values.get(key, 0.0) + float(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge.  Raises KeyError for a metric that is not in the table."""
        with self._lock:
            self._values[name][tuple(sorted(labels.items()))] = float(value)

    def value(self, name: str, **labels: str) -> float:
        with self._lock:
            return self._values[name].get(tuple(sorted(labels.items())), 0.0)

    def prometheus(self) -> str:
        with self._lock:
            lines = [line for metric in self._metrics.values() for line in _lines(metric, self._values[metric.name])]
        return "\n".join(lines) + "\n"


def _lines(metric: Metric, values: Mapping[Labels, float]) -> list[str]:
    head = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
    return head + [f"{metric.name}{_labels(labels)} {_number(value)}" for labels, value in sorted(values.items())]


def _number(value: float) -> str:
    """With every digit: a counter shown rounded would stand still, and then jump."""
    if math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = ((name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"

"""Frames declared as data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Indicator, Node

OPS = Indicator("cmd_get", "ops/s", "higher")
LATENCY = Indicator("p99", "ms", "lower")


class Frames:
    """``frame(3.0, production("web", sli=900.0), best_effort("burn", cpu=2.0), psi_cpu=0.1)``"""

    ops = OPS
    latency = LATENCY

    @staticmethod
    def production(name: str, indicator: Indicator | None = OPS, cpus: float = 1.0, mem_bytes: float = 0.0, **columns):
        return Container(name, PRODUCTION, name, cpus, mem_bytes, indicator=indicator), columns

    @staticmethod
    def best_effort(name: str, **columns):
        return Container(name, BEST_EFFORT, name, 0.5, 0.0), columns

    @staticmethod
    def frame(t: float, *rows: tuple[Container, Mapping[str, float]], node: Node = Node(), **readings: float) -> Frame:  # noqa: B008
        names = {name for _, columns in rows for name in columns}
        return Frame(
            t,
            tuple(container for container, _ in rows),
            {name: np.array([columns.get(name, math.nan) for _, columns in rows]) for name in names},
            node,
            readings,
        )


@pytest.fixture
def made() -> type[Frames]:
    return Frames

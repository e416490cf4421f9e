"""How much slack a node has: a pure function of one frame and a prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from serenity.estimator.predictors.prediction import Peaks, Prediction
from serenity.qos.frame import Floats, Frame
from serenity.qos.stages import POSITIVE, Parameters, parameter


@dataclass(frozen=True)
class Limits(Parameters):
    """The limits of the slack, and how old the agent's state may be for new slack to be given: `[slack.limits]`."""

    cpus: float = parameter(0.9, "share of the node", "how much production and best-effort may use together", POSITIVE)
    mem: float = parameter(0.9, "share of the node", "how much production and best-effort may use together", POSITIVE)
    stale_s: float = parameter(5.0, "s", "how old the agent's word of who is on the node may be", POSITIVE)


@dataclass(frozen=True, slots=True)
class Slack:
    """The total, including what best-effort holds of it.

    If it is not `fresh`, the data do not allow giving out more than is held already.  `why` says, for people, what
    besides production's use made the number.  `predicted`: the most that production is expected to use.

    `at_most`: the slack if containers that cannot be predicted at the moment go on as they were last seen.  No more
    than the total is given out.  But only what best-effort holds beyond `at_most` is certainly too much: no task is to
    be lost because a file could not be read.
    """

    cpus: float = 0.0
    mem_bytes: float = 0.0
    fresh: bool = True
    why: tuple[str, ...] = ()
    predicted_cpus: float = 0.0
    predicted_mem_bytes: float = 0.0
    at_most_cpus: float = 0.0
    at_most_mem_bytes: float = 0.0

    def without(self, cpus: float, mem_bytes: float) -> Slack:
        """The total less these amounts; never negative."""
        return replace(self, cpus=max(0.0, self.cpus - cpus), mem_bytes=max(0.0, self.mem_bytes - mem_bytes))


def slack(frame: Frame, prediction: Prediction, other_mem_bytes: float, limits: Limits) -> Slack:
    """The slack of a node.

        total = max(0, min( Σ allocated - predicted, capacity * limit - predicted ))

    for cpus and memory.  The sum is over the rows of `frame`, all of them production's; best-effort appears nowhere,
    so that filling the slack does not change it.  `predicted` is for all rows together, and may be more than is
    allocated: a container that bursts beyond its allocation takes from the others' slack.  A row whose prediction is
    NaN counts at its allocation.

    Memory has a second bound, as it cannot be given back once used: ``mem_total_bytes``
    (reading) ``* limit - other_mem_bytes``, where `other_mem_bytes` is the peak use (machine_memory.py) of everything
    but best-effort on the machine, inside Mesos and out (NaN: not known, no such bound).
    CPU used outside of Mesos is not counted: best-effort yields it.

    The result is not fresh if the agent's state is missing or stale, a capacity unknown, or a prediction no number.
    """
    why: list[str] = []
    used_cpus = _used("cpus", frame.allocated_cpus, prediction.cpus, why)
    cpus = _total("cpus", frame.allocated_cpus, used_cpus, frame.node.cpus * limits.cpus, why)
    used_bytes = _used("mem", frame.allocated_mem_bytes, prediction.mem_bytes, why)
    mem_bytes = _total("mem", frame.allocated_mem_bytes, used_bytes, frame.node.mem_bytes * limits.mem, why)
    machine_bytes = frame.readings.get("mem_total_bytes", math.nan) * limits.mem - other_mem_bytes
    if machine_bytes < mem_bytes:
        mem_bytes = max(0.0, machine_bytes)
        why.append("mem is bounded by what the machine has left")
    age_s = frame.readings.get("agent_age_s")
    fresh = age_s is not None and age_s <= limits.stale_s and math.isfinite(cpus) and math.isfinite(mem_bytes)
    if age_s is None:
        why.append("the agent has not said yet who is on the node")
    elif age_s > limits.stale_s:
        why.append(f"the agent's word is {age_s:.0f} s old")
    return Slack(_finite(cpus), _finite(mem_bytes), fresh, tuple(why), used_cpus, used_bytes)


def _used(name: str, allocated: Floats, predicted: Peaks, why: list[str]) -> float:
    unknown = np.isnan(predicted.rows)
    if unknown.any():
        why.append(f"{name}: {unknown.sum()} of {len(unknown)} production containers count at their allocation")
    return predicted.together + float(allocated[unknown].sum())


def _total(name: str, allocated: Floats, used: float, capacity: float, why: list[str]) -> float:
    """NaN when the capacity or the prediction is not known."""
    unused, room = float(allocated.sum()) - used, capacity - used
    if not capacity > 0:  # A starting agent reports 0.
        why.append(f"{name}: the node's capacity is not known")
        return math.nan
    if not math.isfinite(unused):  # The predictor has gone astray, which is no reason to take anything away.
        why.append(f"{name}: what production is predicted to use is no number")
        return math.nan
    if room < unused:
        why.append(f"{name} is bounded by the limit on the node's capacity")
    return max(0.0, min(unused, room))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0

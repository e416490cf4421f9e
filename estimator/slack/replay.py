"""What the estimator would say over recorded frames.  Pure: depends on the frames alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import msgspec

from serenity.estimator.slack.formula import Slack
from serenity.estimator.slack.pipeline import SlackPipeline, SlackStages
from serenity.qos.frame import Frame


class Estimate(msgspec.Struct, frozen=True):
    """A line of `serenity slack replay --json`.  `t`: seconds of the trace."""

    t: float
    cpus: float
    mem_bytes: int

    @classmethod
    def of(cls, t: float, slack: Slack) -> Estimate:
        return cls(t, math.floor(slack.cpus * 1e4) / 1e4, math.floor(slack.mem_bytes))


@dataclass(frozen=True, slots=True)
class Step:
    estimate: Estimate
    slack: Slack


class SlackReplay:
    """Call `step` with every frame.

    If a trace does not say how old the agent's state was (``agent_age_s``), that counts as up to date in every frame.
    Where the state is stale there is no slack, because in a replay best-effort holds nothing.
    """

    def __init__(self, stages: SlackStages) -> None:
        self._pipeline = SlackPipeline(stages)
        self._stale_s = stages.limits.stale_s

    def step(self, frame: Frame) -> Step:
        age_s = frame.readings.get("agent_age_s", 0.0)
        slack = self._pipeline.step(replace(frame, readings={**frame.readings, "agent_age_s": age_s}))
        if age_s > self._stale_s:
            slack = replace(slack, cpus=0.0, mem_bytes=0.0)
        return Step(Estimate.of(frame.t, slack), slack)

"""Why a job is not running, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serenity.framework.cooldowns import Cooldown
from serenity.framework.jobs import Attempt, Job
from serenity.framework.views import attempt_text
from serenity.wire.mesos.quantities import format_duration, format_mem
from serenity.wire.mesos.resources import Resources
from serenity.wire.messages.api import AttemptState


@dataclass(frozen=True, slots=True)
class SeenSlack:
    """What an agent offered last; `at`: seconds since the epoch."""

    hostname: str
    resources: Resources
    at: float


def explain(
    job: Job,
    attempts: Sequence[Attempt],
    *,
    subscribed: bool,
    cooldowns: Sequence[Cooldown],
    slack: Sequence[SeenSlack],
    now_s: float,
) -> tuple[str, ...]:
    waiting = [each for each in attempts if each.state is AttemptState.PENDING]
    lines = [f"instance {each.instance} is {attempt_text(each)}" for each in attempts if each.alive][:10]
    if not waiting:
        return tuple(lines)
    if not subscribed:
        lines.append("the framework is not connected to the Mesos master, so nothing is launched")
    later = sorted(each.not_before for each in waiting if each.not_before > now_s)
    if later:
        lines.append(f"{_instances(len(later))} backing off; the first for another {format_duration(later[0] - now_s)}")
    for each in cooldowns:
        if each.until > now_s:
            lines.append(f"{each.hostname} is avoided for another {format_duration(each.until - now_s)}")
    if len(later) < len(waiting):
        ready = _instances(len(waiting) - len(later))
        lines.append(f"{ready} waiting for {job.request.cpus:g} cpus and {format_mem(job.request.mem_bytes)} of slack")
        lines.append(_largest(slack, now_s))
    return tuple(lines)


def _instances(count: int) -> str:
    return "1 instance is" if count == 1 else f"{count} instances are"


def _largest(slack: Sequence[SeenSlack], now_s: float) -> str:
    offered = [each for each in slack if each.resources.cpus > 0]
    if not offered:
        return "no agent has offered revocable resources so far: is an estimator running, and subscribed?"
    largest = max(offered, key=lambda each: (each.resources.cpus, each.resources.mem_mb))
    return (
        f"the largest slack offered last was {largest.resources.cpus:g} cpus and "
        f"{format_mem(largest.resources.mem_bytes)} on {largest.hostname}, {format_duration(now_s - largest.at)} ago"
    )

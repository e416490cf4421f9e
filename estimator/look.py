"""One look at a node, for people: samples for a few seconds, and reports nothing to the agent."""

from __future__ import annotations

import threading
from dataclasses import replace

import msgspec

from serenity.daemon.clock import Clock
from serenity.estimator.account.report import Amount
from serenity.estimator.predictors.peak import Peak, PeakParameters
from serenity.estimator.settings import EstimatorSettings
from serenity.estimator.slack.pipeline import SlackPipeline, SlackStages
from serenity.qos.frame import PRODUCTION, Frame
from serenity.qos.sources.roster import LEAST_S, Roster
from serenity.qos.sources.sampler import Sampler
from serenity.wire.mesos.quantities import format_mem

# The agent tells the processes at the second; a rate needs two more, and a peak of a single rate would be no peak.
_SAMPLES = 5


def look_once(roster: Roster, stages: SlackStages, clock: Clock, settings: EstimatorSettings, *, as_json: bool) -> str:
    """The slack according to these few seconds, as text or JSON.

    Raises:
        Unreachable, HttpError: the agent did not answer.
    """
    # A look has no past: the samples of these seconds must do, and no slack is given out because of them.
    young = replace(stages, predictor=Peak(PeakParameters(min_age_s=0.0)), report=replace(stages.report, rise_s=0.0))
    pipeline, sampler = SlackPipeline(young), Sampler(roster, clock, settings.rules)
    interval_s = max(settings.interval_s, LEAST_S)  # The agent is asked with each sample.
    try:
        for number in range(_SAMPLES):
            if number:
                threading.Event().wait(interval_s)
            look = roster.ask()
            frame = sampler.sample(clock.now_s())
            slack = settings.bounds.apply(pipeline.step(frame))
    finally:
        sampler.close()
    held = Amount.floor(*look.held)
    total = Amount.floor(slack.cpus, slack.mem_bytes)
    if not as_json:
        return _text(look.identity.hostname, total, held, slack.why, frame)
    return (
        msgspec.json.encode(
            {
                "agent_id": look.identity.agent_id,
                "hostname": look.identity.hostname,
                "seen_for_s": (_SAMPLES - 2) * interval_s,
                "cpus": total.cpus,
                "mem_bytes": total.mem_bytes,
                "fresh": slack.fresh,
                "why": slack.why,
                "held": held,
                "containers": frame.to_json()["containers"],
            }
        ).decode()
        + "\n"
    )


def _text(hostname: str, total: Amount, held: Amount, why: tuple[str, ...], frame: Frame) -> str:
    lines = [
        f"{hostname}: slack {total.cpus:g} cpus, {format_mem(total.mem_bytes)};"
        f" held by best-effort {held.cpus:g} cpus, {format_mem(held.mem_bytes)}"
    ]
    lines += [f"  {each}" for each in why]
    used, rss_bytes = frame.column("cpu"), frame.column("rss_bytes")
    for i, container in enumerate(frame.containers):
        role = "production " if container.role == PRODUCTION else "best-effort"
        lines.append(
            f"  {role}  {container.job or container.id}: {used[i]:.2f} of {container.cpus:g} cpus,"
            f" {format_mem(rss_bytes[i])} of {format_mem(container.mem_bytes)}"
        )
    return "\n".join(lines) + "\n"

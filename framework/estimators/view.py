"""How the roll-out is shown: for each agent its estimator's state, what is wrong with it, what to do.  Pure."""

from __future__ import annotations

import json
from collections import Counter

from serenity.framework.estimators.agent import Agent, State
from serenity.framework.estimators.rollout import Rollout
from serenity.framework.estimators.task import EstimatorTemplate
from serenity.wire.mesos.quantities import format_duration
from serenity.wire.messages.api import Estimator

# The states of an `Estimator`.
STATES = (*(each.value for each in State), "failed", "none", "foreign")


def estimators(rollout: Rollout, monotonic_s: float, now_s: float) -> dict[str, Estimator]:
    """By agent id; empty where the framework rolls out no estimators, and has none.  `now_s`: since the epoch."""
    return {
        agent.id: (_of_task if agent.task is not None else _of_none)(rollout, agent, monotonic_s, now_s)
        for agent in rollout.agents.values()
        if rollout.on or agent.task is not None
    }


def counts(rollout: Rollout, monotonic_s: float, now_s: float) -> dict[str, int]:
    """How many agents are in each state; all states, so that a gauge falls to nothing."""
    found = Counter(each.state for each in estimators(rollout, monotonic_s, now_s).values())
    return {state: found[state] for state in STATES} if rollout.agents else {}


def _of_task(rollout: Rollout, agent: Agent, monotonic_s: float, now_s: float) -> Estimator:
    template = rollout.plan.template
    outdated = rollout.on and agent.version != template.version
    why = ""
    if agent.state is State.AWAY:
        why = "its agent is away, for the master"
    elif outdated and agent.state is State.RUNNING:
        lacks_room = agent.seen is not None and agent.lacks_room(template.cpus, template.mem_mb)
        why = "is of another version, and " + (
            f"cannot be upgraded: {_too_little(template)}" if lacks_room else "waits for its turn"
        )
    elif agent.slack_expected and agent.state is State.RUNNING:
        why = "runs again, and its slack is not back yet"
    elif agent.why and not agent.settled:
        why = f"was started again; the last one {_ended(agent)}"
    since = _epoch_s(agent.since_s, monotonic_s, now_s)
    return Estimator(state=agent.state.value, version=agent.version, outdated=outdated, since=since, why=why)


def _of_none(rollout: Rollout, agent: Agent, monotonic_s: float, now_s: float) -> Estimator:
    template, seen = rollout.plan.template, agent.seen
    pause = format_duration(max(0.0, agent.not_before_s - monotonic_s))
    if agent.reported_by_others:
        return Estimator(state="foreign", why="somebody else reports its slack, and is left alone")
    if agent.foreign:
        return Estimator(state="foreign", why=f"{agent.words}; again in {pause}")
    if agent.why:
        since = _epoch_s(agent.ended_s, monotonic_s, now_s)
        return Estimator(state="failed", version=agent.version, since=since, why=f"{_ended(agent)}; again in {pause}")
    if seen is not None and not seen.active:
        return Estimator(state="none", why="the agent is not connected to the master")
    if seen is not None and agent.lacks_room(template.cpus, template.mem_mb):
        return Estimator(state="none", why=_too_little(template), remedy=reserve_command(template, agent.id))
    why = "waiting for an offer of what is reserved for it" + (", to be upgraded" if agent.upgrading else "")
    return Estimator(state="none", version=agent.version if agent.upgrading else None, why=why)


def _epoch_s(then_s: float | None, monotonic_s: float, now_s: float) -> float | None:
    """When that was, for people: by the clock as it is set now."""
    return None if then_s is None else now_s - (monotonic_s - then_s)


def _ended(agent: Agent) -> str:
    times = f", {agent.failures} times" if agent.failures > 1 else ""
    return f"ended ({agent.why}{times})" + (f": {agent.words}" if agent.words else "")


def _too_little(template: EstimatorTemplate) -> str:
    return f"less than {template.cpus:g} cpus and {template.mem_mb:g} MiB are reserved to {template.role} there"


def reserve_command(template: EstimatorTemplate, agent_id: str) -> str:
    """The command that reserves room for one on an agent that runs and has it to spare; MASTER is to be filled in."""
    resources = [
        {"name": name, "type": "SCALAR", "scalar": {"value": value}, "role": template.role, "reservation": {}}
        for name, value in (("cpus", template.cpus), ("mem", template.mem_mb))
    ]
    text = json.dumps(resources, separators=(",", ":"))
    return f"curl -d slaveId={agent_id} -d resources='{text}' http://MASTER:5050/reserve"

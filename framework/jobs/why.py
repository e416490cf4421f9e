"""Why a job is not running, in sentences.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from serenity.framework.cluster.antagonists import Antagonist
from serenity.framework.cluster.hints import Spared
from serenity.framework.jobs.job import Attempt, Job
from serenity.framework.jobs.views import attempt_text, one_line
from serenity.framework.placement.agents import Attributes, Offer, satisfies, with_hostname
from serenity.framework.placement.cooldowns import Cooldown
from serenity.framework.placement.lines import Lines
from serenity.framework.placement.place import Held
from serenity.wire.mesos.quantities import format_duration, format_mem
from serenity.wire.mesos.resources import Resources
from serenity.wire.messages.api import AttemptState, JobState
from serenity.wire.messages.constraints import Constraint

_MOST_LINES = 10  # Of one kind.
_MOST_VALUES = 8


@dataclass(frozen=True, slots=True)
class SeenSlack:
    """What an agent offered last; `at`: seconds since the epoch."""

    hostname: str
    resources: Resources
    attributes: Attributes
    at: float

    @classmethod
    def of(cls, offer: Offer, at: float) -> Self:
        return cls(offer.hostname, offer.resources.revocable, with_hostname(offer.attributes, offer.hostname), at)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the framework knows just now.  Of the job itself: `cooldowns` and `flapping`, see there."""

    subscribed: bool
    cooldowns: Sequence[Cooldown]
    flapping: tuple[int, float] | None
    slack: Sequence[SeenSlack]
    lines: Lines
    held: Mapping[str, Held]
    now_s: float
    apart: Mapping[str, Antagonist]  # By hostname: there a production job lives that this job has hurt.


def explain(job: Job, attempts: Sequence[Attempt], now: Situation) -> tuple[str, ...]:
    """`attempts`: the current ones of all instances."""
    alive = [each for each in attempts if each.alive]
    waiting = [each for each in attempts if each.state is AttemptState.PENDING]
    lines = [f"instance {each.instance} is {attempt_text(each)}" for each in alive[:_MOST_LINES]]
    if len(alive) > _MOST_LINES:
        more = _instances(len(alive) - _MOST_LINES, "more instance")
        lines.append(f"and {more} launching, running, ending or unreachable")
    if not waiting:
        return tuple(lines)
    if not now.subscribed:
        lines.append("the framework is not connected to the Mesos master, so nothing is launched")
    later = sorted(each.not_before for each in waiting if each.not_before > now.now_s)
    if later:
        wait = format_duration(later[0] - now.now_s)
        lines.append(f"{_instances(len(later))} backing off; the first for another {wait}")
    if now.flapping is not None:
        ends, pause_s = now.flapping
        lines.append(
            f"its last {ends} attempts ended badly within seconds: one is made every {format_duration(pause_s)} "
            "until one does better"
        )
    lines += _cooling(now)
    lines += _kept_apart(now)
    if len(later) < len(waiting):
        ready = _instances(len(waiting) - len(later))
        lines.append(f"{ready} waiting for {job.request.cpus:g} cpus and {format_mem(job.request.mem_bytes)} of slack")
        lines += _unsuitable(job.request.constraints, now.slack)
        lines.append(_largest(job.request.constraints, now))
        lines += _others_first(job, now)
    return tuple(lines)


def last_ends(ended: Sequence[Attempt], now_s: float) -> tuple[str, ...]:
    """What became of a job's attempts so far.  `ended`: those that ended last, the newest first."""
    bad = [each for each in ended if each.ending is not None and each.ending.state is not AttemptState.FINISHED]
    if not bad:
        return ()
    last = bad[0]
    assert last.ending is not None and last.ended_at is not None
    reason, message = last.ending.reason, one_line(last.ending.message)
    said = ": ".join(
        each for each in (reason.code if reason else "", message or (reason.text if reason else "")) if each
    )
    where = f" on {last.place.hostname}" if last.place else ""
    free = last.retry is not None and not last.retry.charged
    charged_ends, free_ends = last.charged_before + (not free), last.free_before + free
    return (
        f"its last attempt ended {format_duration(max(0.0, now_s - last.ended_at))} ago{where}: "
        f"{said or 'nobody has said why'}",
        f"of that instance {_count(free_ends, 'attempt')} ended for free so far, and {charged_ends} at its own cost",
    )


def spared(agents: Mapping[str, Spared]) -> tuple[str, ...]:
    """Agents to which nothing goes for now, since production suffers there."""
    lines = [one_line(each.sentence()) for each in list(agents.values())[:_MOST_LINES]]
    more = len(agents) - _MOST_LINES
    return (*lines, f"nor do {_count(more, 'other agent')}, for the like") if more > 0 else tuple(lines)


def ended_text(state: JobState) -> str:
    return f"it {'was' if state is JobState.KILLED else 'has'} {state}"


def _cooling(now: Situation) -> Iterator[str]:
    cooling = sorted((each for each in now.cooldowns if each.until > now.now_s), key=lambda each: each.until)
    for each in cooling[:_MOST_LINES]:
        yield f"{each.hostname} is avoided for another {format_duration(each.until - now.now_s)}"
    if len(cooling) > _MOST_LINES:
        yield f"so are {len(cooling) - _MOST_LINES} other agents, for longer"


def _kept_apart(now: Situation) -> Iterator[str]:
    for hostname, each in list(now.apart.items())[:_MOST_LINES]:
        times = "" if each.times == 1 else f", {each.times} times"
        ago = format_duration(max(0.0, now.now_s - each.at))
        yield f"{hostname} is avoided: {each.protected} lives there, which it hurt ({each.cause}{times}; {ago} ago)"


def _unsuitable(constraints: Sequence[Constraint], slack: Sequence[SeenSlack]) -> Iterator[str]:
    """Constraints that no agent satisfies, and what agents have instead."""
    if not constraints or not slack or any(satisfies(tuple(constraints), each.attributes) for each in slack):
        return
    alone = [each for each in constraints if not any(satisfies((each,), agent.attributes) for agent in slack)]
    for constraint in alone:
        name = constraint.attribute
        values = Counter(value for agent in slack for key, value in agent.attributes if key == name)
        without = sum(all(key != name for key, _ in agent.attributes) for agent in slack)
        has = [f"{value} on {_count(count, 'agent')}" for value, count in values.most_common(_MOST_VALUES)]
        has += ["others"] if len(values) > _MOST_VALUES else []
        has += [f"not set on {_count(without, 'agent')}"] if without else []
        yield f"no agent satisfies {constraint}: {name} is {', '.join(has)}"
    if not alone:
        yield f"no agent satisfies all of {'; '.join(map(str, constraints))}"


def _largest(constraints: tuple[Constraint, ...], now: Situation) -> str:
    offered = [each for each in now.slack if each.resources.cpus > 0]
    if not offered:
        return (
            "no agent offers slack just now: does an estimator run there, subscribed, "
            "and does nobody hold its valve (`serenity estimator leases` there)?"
        )
    suitable = [each for each in offered if satisfies(constraints, each.attributes)]
    largest = max(suitable or offered, key=lambda each: (each.resources.cpus, each.resources.mem_mb))
    where = largest.hostname + (", which satisfies its constraints" if constraints and suitable else "")
    return (
        f"the largest slack offered last was {largest.resources.cpus:g} cpus and "
        f"{format_mem(largest.resources.mem_bytes)} on {where}, {format_duration(now.now_s - largest.at)} ago"
    )


def _others_first(job: Job, now: Situation) -> Iterator[str]:
    """Which jobs come before it: by priority, by share, by age."""
    higher = sum(len(line.jobs) for line in now.lines if line.priority > job.request.priority)
    if higher:
        yield f"{_count(higher, 'job')} of a higher priority {'waits' if higher == 1 else 'wait'} for slack, too"
    total = sum(now.held.values(), Held())
    beside = [line for line in now.lines if line.priority == job.request.priority]
    own_share = now.held.get(job.share_of, Held()).share(total)
    shares = {line.user: now.held.get(line.user, Held()).share(total) for line in beside if line.user != job.share_of}
    less = sorted((share, user) for user, share in shares.items() if share < own_share)
    if less:
        share, user = less[0]
        yield (
            f"over its share: {job.share_of or 'nobody in particular'} holds {own_share:.0%} of what best-effort has; "
            f"{user or 'nobody in particular'}, with {share:.0%}, waits and comes first"
            + (f", as do {_count(len(less) - 1, 'other')}" if len(less) > 1 else "")
        )
    older = sum(each < job.id for line in beside if line.user == job.share_of for each in line.jobs)
    if older:
        yield f"{_count(older, 'job')} of the same user and priority came before it"


def _instances(count: int, what: str = "instance") -> str:
    return f"{_count(count, what)} {'is' if count == 1 else 'are'}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

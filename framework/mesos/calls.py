"""What the framework wants Mesos to do: calls as values, made by decisions, carried out by the sender."""

from __future__ import annotations

from dataclasses import dataclass, field

from serenity.wire.mesos.resources import Json


@dataclass(frozen=True, slots=True)
class Accept:
    """Launches `tasks` on offers of one agent; what is left of them comes back after `refuse_s`."""

    offer_ids: tuple[str, ...]
    tasks: tuple[Json, ...] = field(repr=False)
    refuse_s: float


@dataclass(frozen=True, slots=True)
class Decline:
    offer_ids: tuple[str, ...]
    refuse_s: float


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """`status` as it came; only of updates with a uuid."""

    status: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kill:
    task_id: str
    agent_id: str | None
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Ends an executor that has no task any more."""

    executor_id: str
    agent_id: str


@dataclass(frozen=True, slots=True)
class Tell:
    """A framework message to an executor, base64; Mesos may lose it."""

    executor_id: str
    agent_id: str
    data: str


@dataclass(frozen=True, slots=True)
class AcceptInverseOffers:
    """We shall be gone from these agents when their maintenance begins."""

    offer_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reconcile:
    """`tasks`: (task id, agent id) each; without any, everything is asked for that Mesos knows."""

    tasks: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Revive:
    """Offers are wanted: undoes suppressions and refusals of these roles, or of all where none is named."""

    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suppress:
    """No offers are wanted for these roles, or all, until the next `Revive`."""

    roles: tuple[str, ...] = ()


Call = Accept | AcceptInverseOffers | Acknowledge | Decline | Kill | Reconcile | Revive | Shutdown | Suppress | Tell

"""Reads what an agent and a master say of themselves: who runs where, with which resources.

The agent's ``/containers`` has no allocation and no revocability, its ``/state`` no pids:
the two are joined on framework, executor and container id.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from serenity.wire.mesos.leader import LeadingMaster, at_the_leader
from serenity.wire.mesos.resources import Json
from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.http import Endpoint, HttpError, Response, get
from serenity.wire.transport.undecodable import UNDECODABLE, decode_mesos

# Of cores, or of MiB: far more than any cluster has, and the bytes of all that runs on an agent have room in a float.
_MOST_AMOUNT = 1e15


@dataclass(frozen=True, slots=True)
class RunningTask:
    """`addresses` are what its executor reports as its own; the agent's own address where that reports none.

    `docker`: the Docker daemon runs it, in a cgroup that is not named for the Mesos container.
    """

    task_id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int, int], ...] = ()  # Allocated to it: ranges, both ends included.
    addresses: tuple[str, ...] = ()
    docker: bool = False


@dataclass(frozen=True, slots=True)
class PerfSample:
    """What the agent's ``cgroups/perf_event`` isolator counted from `began_at` (since the epoch) for `duration_s`."""

    began_at: float
    duration_s: float
    counts: Mapping[str, float]  # By the names of Mesos' ``PerfStatistics``.


@dataclass(frozen=True, slots=True)
class Container:
    """One executor's container on an agent.

    `cpus`, `mem_bytes` are its whole allocation: executor and tasks, regular and revocable.
    `revocable_cpus`, `revocable_mem_bytes` are the part of it that is revocable; whose slack that
    is the agent does not say.  `pid` is the executor's, None while the container is being launched.
    """

    container_id: str
    framework_id: str
    framework_name: str
    executor_id: str
    pid: int | None
    cpus: float
    mem_bytes: int
    revocable_cpus: float = 0.0
    revocable_mem_bytes: int = 0
    tasks: tuple[RunningTask, ...] = ()
    perf: PerfSample | None = None

    @property
    def revocable(self) -> bool:
        """Whether it is best-effort: any of its cpus or memory is."""
        return self.revocable_cpus > 0 or self.revocable_mem_bytes > 0

    @property
    def docker(self) -> bool:
        return any(task.docker for task in self.tasks)


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    agent_id: str
    hostname: str
    version: str
    cpus: float  # Regular ones, as configured or detected.
    mem_bytes: int
    ip: str = ""  # That the agent is bound to; "" where it does not say.
    samples_perf: bool = False  # It counts hardware events by itself (``--perf_events``).


@dataclass(frozen=True, slots=True)
class AgentLook:
    """An agent and all that runs on it, at one moment."""

    identity: AgentIdentity
    containers: tuple[Container, ...]

    @property
    def whole(self) -> bool:
        """Whether it has every pid that the agent can tell: of what Docker runs it tells none."""
        return all(each.pid is not None or each.docker for each in self.containers)


class _Framework(msgspec.Struct, frozen=True):
    id: str
    name: str = ""
    executors: tuple[msgspec.Raw, ...] = ()


class AgentState(msgspec.Struct, frozen=True):
    """What is read of an agent's ``/state``.

    Much of that is of what has ended.  Objects of all of it would take 40 ms beside 1,000 containers, and more to be
    collected; under gevent everybody waits for that.
    """

    id: str
    resources: Json
    hostname: str = ""
    version: str = ""
    pid: str = ""
    flags: Json = {}
    frameworks: tuple[_Framework, ...] = ()


decode_state = msgspec.json.Decoder(AgentState).decode
# Of its framework id and name, and itself as it stands in ``/state``.
ToldExecutor = tuple[str, str, bytes]


class AgentReader:
    """Read endpoints of one agent.  Every method raises Unreachable, or HttpError also for JSON that makes no sense."""

    def __init__(self, agent: str, timeout_s: float = 5.0, access: Access = ANONYMOUS) -> None:
        self.endpoint = Endpoint.parse(agent, 5051)
        self._timeout_s = timeout_s
        self._access = access
        self._last: tuple[bytes, AgentLook] | None = None  # The last look, and the ``/state`` that it is of.
        self._told: Mapping[ToldExecutor, Container] = {}  # In the ``/state`` before.

    def _get(self, path: str) -> Any:
        return _read(self.endpoint, path, self._timeout_s, self._access).json()

    def flags(self) -> dict[str, str]:
        with making_sense_of(self.endpoint):
            return dict(self._get("/flags")["flags"])

    def version(self) -> str:
        with making_sense_of(self.endpoint):
            return str(self._get("/version")["version"])

    def id_and_providers(self) -> tuple[str, list[tuple[str, str, str]]]:
        """The agent's id, and type, name and id of each resource provider that has a stream to it just now."""
        with making_sense_of(self.endpoint):
            state = self._get("/state")
            infos = [each["resource_provider_info"] for each in state.get("resource_providers", [])]
            return state["id"], [(each["type"], each["name"], each["id"]["value"]) for each in infos]

    def containers(self) -> tuple[Container, ...]:
        """Everything that runs on the agent just now, production and best-effort; two requests."""
        return self.with_processes(self.look().containers)

    def look(self, before: Iterable[Container] = ()) -> AgentLook:
        """One request, for ``/state``: identity and containers, with the processes that `before`, an earlier look, had.

        A ``/state`` that is the same as the last time, as it mostly is, is not taken apart again; of another one, only
        the executors that have changed are.
        """
        known = {each.container_id: each for each in before}
        with making_sense_of(self.endpoint):
            answer = _read(self.endpoint, "/state", self._timeout_s, self._access)
            if self._last is not None and self._last[0] == answer.body:
                last = self._last[1]
            else:
                state = decode_mesos(answer.body, decode_state)
                self._told = containers_of(state, self._told)
                last = AgentLook(self._identity(state), tuple(self._told.values()))
        look = replace(
            last, containers=tuple(_as_known(each, known.get(each.container_id)) for each in last.containers)
        )
        self._last = (answer.body, look)
        return look

    def with_processes(self, containers: Iterable[Container]) -> tuple[Container, ...]:
        """One request, for ``/containers``: the agent collects the statistics of every container for it."""
        with making_sense_of(self.endpoint):
            return join_processes(containers, self._get("/containers"))

    def _identity(self, state: AgentState) -> AgentIdentity:
        resources = state.resources  # Reserved ones included, revocable ones under names of their own.
        return AgentIdentity(
            agent_id=state.id,
            hostname=state.hostname or str(self.endpoint),
            version=state.version,
            cpus=_amount(resources.get("cpus", 0.0)),
            mem_bytes=_mib(resources.get("mem", 0.0)),
            ip=state.pid.rpartition("@")[2].rpartition(":")[0].strip("[]"),  # Of "slave(1)@10.0.0.7:5051".
            samples_perf=bool(state.flags.get("perf_events")),
        )


class MasterReader:
    """Read endpoints of the leading master.  Every method raises as those of `AgentReader` do."""

    def __init__(self, leading: LeadingMaster, timeout_s: float = 10.0, access: Access = ANONYMOUS) -> None:
        self._leading = leading
        self._timeout_s = timeout_s
        self._access = access

    def agents(self) -> list[Json]:
        with making_sense_of(self._leading):
            found, _ = at_the_leader(
                self._leading, lambda master: _read(master, "/slaves", self._timeout_s, self._access).json()
            )
            return list(found["slaves"])


def containers_of(state: AgentState, before: Mapping[ToldExecutor, Container]) -> dict[ToldExecutor, Container]:
    """Without their processes, which a ``/state`` does not tell.  What is told as `before` is what it was."""
    told = ((each.id, each.name, bytes(executor)) for each in state.frameworks for executor in each.executors)
    return {each: before.get(each) or _container(*each) for each in told}


def _container(framework_id: str, framework_name: str, told: bytes) -> Container:
    executor = decode_mesos(told)
    return Container(
        container_id=executor["container"],
        framework_id=framework_id,
        framework_name=framework_name,
        executor_id=executor["id"],
        pid=None,
        cpus=_either(executor["resources"], "cpus"),
        mem_bytes=_mib(_either(executor["resources"], "mem")),
        revocable_cpus=_amount(executor["resources"].get("cpus_revocable", 0.0)),
        revocable_mem_bytes=_mib(executor["resources"].get("mem_revocable", 0.0)),
        tasks=tuple(_task(each) for each in executor.get("tasks", [])),
    )


def join_processes(containers: Iterable[Container], told: list[Json]) -> tuple[Container, ...]:
    """With the pids and statistics that the agent's ``/containers`` has `told`.

    An executor that only one of the two knows is taken as far as it goes: one that just
    started has no pid yet, and its allocation counts nevertheless.
    """
    known = {
        # By the container id as well: an executor that was started again under its old id is another process.
        (each["framework_id"], each["executor_id"], each["container_id"]): each
        for each in told
    }
    joined = []
    for each in containers:
        of = known.get((each.framework_id, each.executor_id, each.container_id))
        if of is not None:
            pid = (of.get("status") or {}).get("executor_pid")
            perf = _perf((of.get("statistics") or {}).get("perf"))
            each = replace(each, pid=each.pid if pid is None else pid, perf=perf)
        joined.append(each)
    return tuple(joined)


def _as_known(seen: Container, known: Container | None) -> Container:
    """With the process that an earlier look knew; the same object where nothing has changed."""
    if known is None or known is seen:
        return seen
    made = replace(seen, pid=known.pid, perf=known.perf)
    return known if made == known else made


def _read(endpoint: Endpoint, path: str, timeout_s: float, access: Access) -> Response:
    try:
        return get(endpoint, path, timeout_s, access)
    except HttpError as error:
        if error.status == 401:
            what = f"GET {endpoint}{path}, asked by {access.principal or 'nobody'}: check principal and secret_file"
            raise HttpError(401, error.body, what, error.headers) from error
        raise


@contextlib.contextmanager
def making_sense_of(peer: Endpoint | LeadingMaster) -> Iterator[None]:
    """JSON of another shape than Mesos' is the peer's fault, not ours; so is a number that no float has room for."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, *UNDECODABLE) as error:
        raise HttpError(200, repr(error).encode(), f"{peer} does not answer as Mesos does") from error


def _task(task: Json) -> RunningTask:
    labels = {each["key"]: each.get("value", "") for each in task.get("labels", [])}
    status: Json = max(task.get("statuses", []), key=lambda each: each.get("timestamp", 0.0), default={})
    return RunningTask(
        task_id=task["id"],
        name=task.get("name", ""),
        labels=labels,
        ports=_ranges(task.get("resources", {}).get("ports", "[]")),
        addresses=tuple(
            address["ip_address"]
            for network in status.get("container_status", {}).get("network_infos", [])
            for address in network.get("ip_addresses", [])
            if "ip_address" in address
        ),
        docker=task.get("container", {}).get("type") == "DOCKER",
    )


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    """Reads ``[31000-31002, 31005-31005]``."""
    parts = (part.partition("-") for part in text.strip("[]").split(",") if part.strip())
    return tuple((int(begin), int(end or begin)) for begin, _, end in parts)


def _perf(perf: Json | None) -> PerfSample | None:
    """None where there is none, or none that makes sense: one container's must not cost the look at all others."""
    told = {name: float(value) for name, value in (perf or {}).items() if type(value) in (int, float)}
    timestamp, duration_s = told.pop("timestamp", math.nan), told.pop("duration", math.nan)
    if not (math.isfinite(timestamp) and 0 < duration_s < math.inf):
        return None
    return PerfSample(timestamp, duration_s, told)


def _either(resources: Json, name: str) -> float:
    """Regular and revocable together; one executor never mixes the two of one name."""
    return _amount(resources.get(name, 0.0)) + _amount(resources.get(f"{name}_revocable", 0.0))


def _amount(value: Any) -> float:
    """Raises ValueError: Python's JSON knows NaN, and a state may say anything."""
    amount = float(value)
    if not 0 <= amount <= _MOST_AMOUNT:
        raise ValueError(f"{value!r} is no amount")
    return amount


def _mib(amount: float) -> int:
    return round(_amount(amount) * (1 << 20))

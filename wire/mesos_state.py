"""Reads what an agent and a master say of themselves: who runs where, with which resources.

The agent's ``/containers`` has no allocation and no revocability, its ``/state`` no pids:
`AgentReader.containers` joins the two on framework, executor and container id.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serenity.wire.http import Endpoint, HttpError, get_json
from serenity.wire.resources import Json


@dataclass(frozen=True, slots=True)
class RunningTask:
    task_id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Container:
    """One executor's container on an agent.

    `cpus`, `mem_bytes` are its whole allocation: executor and tasks, regular and revocable.
    `revocable` says whether any of its cpus or memory is.  `pid` is the executor's, None
    while the container is being launched.
    """

    container_id: str
    framework_id: str
    framework_name: str
    executor_id: str
    pid: int | None
    cpus: float
    mem_bytes: int
    revocable: bool
    tasks: tuple[RunningTask, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    agent_id: str
    hostname: str
    version: str
    cpus: float  # Regular ones, as configured or detected.
    mem_bytes: int
    ip: str = ""  # That the agent is bound to; "" where it does not say.


@dataclass(frozen=True, slots=True)
class AgentLook:
    """An agent and all that runs on it, at one moment."""

    identity: AgentIdentity
    containers: tuple[Container, ...]


class AgentReader:
    """Read endpoints of one agent.  Every method raises Unreachable, or HttpError also for JSON that makes no sense."""

    def __init__(self, agent: str, timeout_s: float = 5.0) -> None:
        self.endpoint = Endpoint.parse(agent, 5051)
        self._timeout_s = timeout_s

    def _get(self, path: str) -> Any:
        return get_json(self.endpoint, path, self._timeout_s)

    def identity(self) -> AgentIdentity:
        with _making_sense_of(self.endpoint):
            return self._identity(self._get("/state"))

    def flags(self) -> dict[str, str]:
        with _making_sense_of(self.endpoint):
            return dict(self._get("/flags")["flags"])

    def version(self) -> str:
        return _version(self.endpoint, self._timeout_s)

    def containers(self) -> list[Container]:
        """Everything that runs on the agent just now, production and best-effort."""
        with _making_sense_of(self.endpoint):
            return join_containers(self._get("/state"), self._get("/containers"))

    def look(self, before: Iterable[Container] = ()) -> AgentLook:
        """Identity and containers from one reading of ``/state``.

        ``/containers`` makes the agent collect the statistics of every container, and is read
        only for pids that `before`, what an earlier look saw, does not know.
        """
        pids = {each.container_id: each.pid for each in before if each.pid is not None}
        with _making_sense_of(self.endpoint):
            state = self._get("/state")
            seen = join_containers(state, [])
            if any(each.container_id not in pids for each in seen):
                joined = join_containers(state, self._get("/containers"))
                pids.update((each.container_id, each.pid) for each in joined if each.pid is not None)
            return AgentLook(
                self._identity(state), tuple(replace(each, pid=pids.get(each.container_id)) for each in seen)
            )

    def _identity(self, state: Json) -> AgentIdentity:
        resources = state["resources"]  # Reserved ones included, revocable ones under names of their own.
        return AgentIdentity(
            agent_id=state["id"],
            hostname=state.get("hostname", str(self.endpoint)),
            version=state.get("version", ""),
            cpus=float(resources.get("cpus", 0.0)),
            mem_bytes=_mib(resources.get("mem", 0.0)),
            ip=state.get("pid", "").rpartition("@")[2].rpartition(":")[0],  # Of "slave(1)@10.0.0.7:5051".
        )


class MasterReader:
    """Read endpoints of one master.  Every method raises as those of `AgentReader` do."""

    def __init__(self, master: str, timeout_s: float = 10.0) -> None:
        self.endpoint = Endpoint.parse(master, 5050)
        self._timeout_s = timeout_s

    def agents(self) -> list[Json]:
        with _making_sense_of(self.endpoint):
            return list(get_json(self.endpoint, "/slaves", self._timeout_s)["slaves"])

    def version(self) -> str:
        return _version(self.endpoint, self._timeout_s)


def join_containers(state: Json, containers: list[Json]) -> list[Container]:
    """Joins the agent's ``/state`` and ``/containers``.

    An executor that only one of the two knows is taken as far as it goes: one that just
    started has no pid yet, and its allocation counts nevertheless.
    """
    pids = {
        # By the container id as well: an executor that was started again under its old id is another process.
        (each["framework_id"], each["executor_id"], each["container_id"]): (each.get("status") or {}).get(
            "executor_pid"
        )
        for each in containers
    }
    return [
        Container(
            container_id=executor["container"],
            framework_id=framework["id"],
            framework_name=framework.get("name", ""),
            executor_id=executor["id"],
            pid=pids.get((framework["id"], executor["id"], executor["container"])),
            cpus=_either(executor["resources"], "cpus"),
            mem_bytes=_mib(_either(executor["resources"], "mem")),
            revocable=any(executor["resources"].get(f"{name}_revocable", 0) > 0 for name in ("cpus", "mem")),
            tasks=tuple(_task(each) for each in executor.get("tasks", [])),
        )
        for framework in state.get("frameworks", [])
        for executor in framework.get("executors", [])
    ]


def _version(endpoint: Endpoint, timeout_s: float) -> str:
    with _making_sense_of(endpoint):
        return str(get_json(endpoint, "/version", timeout_s)["version"])


@contextlib.contextmanager
def _making_sense_of(endpoint: Endpoint) -> Iterator[None]:
    """JSON of another shape than Mesos' is the peer's fault, not ours."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise HttpError(200, repr(error).encode(), f"{endpoint} does not answer as Mesos does") from error


def _task(task: Json) -> RunningTask:
    labels = {each["key"]: each.get("value", "") for each in task.get("labels", [])}
    return RunningTask(task_id=task["id"], name=task.get("name", ""), labels=labels)


def _either(resources: Json, name: str) -> float:
    """Regular and revocable together; one executor never mixes them."""
    return float(resources.get(name, 0.0)) + float(resources.get(f"{name}_revocable", 0.0))


def _mib(amount: float) -> int:
    return round(float(amount) * (1 << 20))

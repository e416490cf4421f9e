"""What the agent's read endpoints answer, in the shapes of Mesos.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from serenity.localmesos import view
from serenity.localmesos.agent.agent import Agent
from serenity.localmesos.agent.executor_launch import mesos_duration
from serenity.localmesos.agent.state import Executor, Framework, living
from serenity.wire.mesos.resources import Json, Resources


def flags(agent: Agent, master: str) -> dict[str, str]:
    """The flags of mesos-agent that mean something here."""
    settings = agent.settings
    cgroups = settings.isolation == "cgroups"
    return {
        "cgroups_hierarchy": "/sys/fs/cgroup",
        "cgroups_root": settings.cgroups_root,
        "executor_registration_timeout": mesos_duration(settings.executor_registration_timeout_s),
        "executor_reregistration_timeout": mesos_duration(settings.executor_reregistration_timeout_s),
        "executor_shutdown_grace_period": mesos_duration(settings.executor_shutdown_grace_period_s),
        "authenticate_http_readonly": "false",
        "authenticate_http_readwrite": "false",
        **({} if settings.hostname == settings.ip else {"hostname": settings.hostname}),
        "ip": settings.ip,
        "isolation": "cgroups/cpu,cgroups/mem" if cgroups else "posix/cpu,posix/mem",
        "launcher": "linux" if cgroups else "posix",
        "master": master,
        "port": str(settings.port),
        "recovery_timeout": mesos_duration(settings.recovery_timeout_s),
        "resources": settings.resources_flag,
        "revocable_cpu_low_priority": str(settings.revocable_cpu_low_priority).lower(),
        "switch_user": "true",
        "work_dir": str(settings.work_dir),
    }


def state(agent: Agent, flags: Mapping[str, str]) -> Json:
    settings = agent.settings
    providers = agent.providers.states
    resources = view.total([settings.resources, *(provider.total for provider in providers.values())])
    used = view.total(executor.allocated for _, executor in living(agent.frameworks))
    unreserved_used, reserved_used = view.by_reservation(used)
    return {
        **view.version(),
        "start_time": agent.started_s,
        "id": settings.agent_id,
        "pid": f"slave(1)@{settings.address}",
        "hostname": settings.hostname,
        "capabilities": list(view.AGENT_CAPABILITIES),
        "resources": view.summary(resources),
        **view.reservations(resources),
        "reserved_resources_allocated": {role: view.summary(part) for role, part in reserved_used.items()},
        "unreserved_resources_allocated": view.summary(unreserved_used),
        **resource_providers(agent),
        "attributes": {},
        "master_hostname": settings.hostname,
        "flags": dict(flags),
        "frameworks": [_framework(framework) for framework in agent.frameworks.values()],
        "completed_frameworks": [_framework(framework) for framework in agent.completed],
    }


def resource_providers(agent: Agent) -> Json:
    return {"resource_providers": [view.provider(info, total) for info, total in agent.providers.subscribed]}


def _framework(framework: Framework) -> Json:
    info = framework.info
    return {
        "id": framework.framework_id,
        "name": info.get("name", ""),
        "user": info.get("user", ""),
        "failover_timeout": float(info.get("failover_timeout", 0.0)),
        "checkpoint": bool(info.get("checkpoint", False)),
        "hostname": info.get("hostname", ""),
        **view.roles(info),
        "executors": [_executor(executor) for executor in framework.executors.values()],
        "completed_executors": [_executor(executor) for executor in framework.completed],
    }


def _executor(executor: Executor) -> Json:
    return {
        "id": executor.executor_id,
        "name": executor.info.get("name", ""),
        "source": executor.info.get("source", ""),
        "container": executor.container_id,
        "directory": str(executor.sandbox),
        "resources": view.summary(executor.allocated),
        "role": view.role_of(executor.allocated),
        **({"type": executor.info["type"]} if "type" in executor.info else {}),
        **view.labels(executor.info),
        "tasks": [view.task(task) for task in executor.launched.values()],
        "queued_tasks": [_queued(executor, info) for info in executor.queued.values()],
        "completed_tasks": [view.task(task) for task in (*executor.terminated.values(), *executor.completed)],
    }


def _queued(executor: Executor, info: Json) -> Json:
    resources = Resources.from_json(info["resources"])
    return {
        "id": info["task_id"]["value"],
        "name": info.get("name", ""),
        "framework_id": executor.framework_id,
        "executor_id": executor.executor_id,
        "slave_id": info["agent_id"]["value"],
        "resources": view.summary(resources),
        "role": view.role_of(resources),
    }


# -- containers ----------------------------------------------------------------------------


def containers(agent: Agent, statistics: Mapping[str, Json]) -> list[Json]:
    """``/containers``."""
    return [
        {
            "container_id": executor.container_id,
            **_named(executor),
            "statistics": statistics[executor.container_id],
            "status": {"container_id": {"value": executor.container_id}, "executor_pid": executor.pid},
        }
        for _, executor in living(agent.frameworks)
        if executor.container_id in statistics
    ]


def monitor_statistics(agent: Agent, statistics: Mapping[str, Json]) -> list[Json]:
    """``/monitor/statistics``."""
    return [
        {**_named(executor), "statistics": statistics[executor.container_id]}
        for _, executor in living(agent.frameworks)
        if executor.container_id in statistics
    ]


def _named(executor: Executor) -> Json:
    return {
        "executor_id": executor.executor_id,
        "executor_name": executor.info.get("name", ""),
        "framework_id": executor.framework_id,
        "source": executor.info.get("source", ""),
    }


# -- /api/v1 -------------------------------------------------------------------------------


def api_v1(
    agent: Agent, kind: str, flags: Mapping[str, str], statistics: Callable[[], Mapping[str, Json]]
) -> Json | None:
    """The answer to a GET_* call; None for one that is not supported."""
    answers: dict[str, Callable[[], object]] = {
        "GET_AGENT": lambda: {"agent_info": agent.settings.info},
        "GET_CONTAINERS": lambda: {"containers": _containers_v1(agent, statistics())},
        "GET_EXECUTORS": lambda: _executors_v1(agent),
        "GET_FLAGS": lambda: view.flags_v1(flags),
        "GET_FRAMEWORKS": lambda: _frameworks_v1(agent),
        "GET_HEALTH": lambda: {"healthy": True},
        "GET_RESOURCE_PROVIDERS": lambda: resource_providers(agent),
        "GET_STATE": lambda: {
            "get_tasks": _tasks_v1(agent),
            "get_executors": _executors_v1(agent),
            "get_frameworks": _frameworks_v1(agent),
        },
        "GET_TASKS": lambda: _tasks_v1(agent),
        "GET_VERSION": lambda: {"version_info": view.version()},
    }
    return view.v1(kind, answers[kind]()) if kind in answers else None


def _containers_v1(agent: Agent, statistics: Mapping[str, Json]) -> list[Json]:
    return [
        {
            "framework_id": {"value": executor.framework_id},
            "executor_id": {"value": executor.executor_id},
            "executor_name": executor.info.get("name", ""),
            "container_id": {"value": executor.container_id},
            "container_status": {"container_id": {"value": executor.container_id}, "executor_pid": executor.pid},
            "resource_statistics": statistics[executor.container_id],
        }
        for _, executor in living(agent.frameworks)
        if executor.container_id in statistics
    ]


def _frameworks_v1(agent: Agent) -> Json:
    return {
        "frameworks": [{"framework_info": framework.info} for framework in agent.frameworks.values()],
        "completed_frameworks": [{"framework_info": framework.info} for framework in agent.completed],
    }


def _executors_v1(agent: Agent) -> Json:
    completed = [executor for framework in _all_frameworks(agent) for executor in framework.completed]
    return {
        "executors": [{"executor_info": executor.info} for executor in _executors(agent.frameworks.values())],
        "completed_executors": [{"executor_info": executor.info} for executor in completed],
    }


def _tasks_v1(agent: Agent) -> Json:
    alive = list(_executors(agent.frameworks.values()))
    past = [executor for framework in _all_frameworks(agent) for executor in framework.completed]
    return {
        "pending_tasks": [],
        "queued_tasks": [_queued_v1(executor, info) for executor in alive for info in executor.queued.values()],
        "launched_tasks": [task.to_v1() for executor in alive for task in executor.launched.values()],
        "terminated_tasks": [task.to_v1() for executor in alive for task in executor.terminated.values()],
        "completed_tasks": [task.to_v1() for executor in (*alive, *past) for task in executor.completed],
    }


def _queued_v1(executor: Executor, info: Json) -> Json:
    queued: Json = {name: info[name] for name in ("name", "task_id", "agent_id", "resources", "labels") if name in info}
    return {**queued, "framework_id": {"value": executor.framework_id}, "state": "TASK_STAGING"}


def all_executors(agent: Agent) -> Iterator[Executor]:
    """Present and past executors; of several with one id the newest comes first."""
    yield from _executors(agent.frameworks.values())
    for framework in reversed(list(_all_frameworks(agent))):
        yield from reversed(framework.completed)


def _all_frameworks(agent: Agent) -> Iterator[Framework]:
    yield from agent.completed
    yield from agent.frameworks.values()


def _executors(frameworks: Iterable[Framework]) -> Iterator[Executor]:
    for framework in frameworks:
        yield from framework.executors.values()


def allocated(agent: Agent, container_id: str) -> Resources:
    """What is allocated to a container's executor and tasks."""
    for _, executor in living(agent.frameworks):
        if executor.container_id == container_id:
            return executor.allocated
    return Resources()

"""What the master's read endpoints answer, in the shapes of Mesos.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serenity.localmesos import view
from serenity.localmesos.agent.executor_launch import mesos_duration
from serenity.localmesos.master import offering
from serenity.localmesos.master.master import Master
from serenity.localmesos.master.state import AgentRecord, Executor, Framework, Offer
from serenity.wire.mesos.resources import Json, Resources

_NS_PER_S = 10**9


def flags(master: Master) -> dict[str, str]:
    """The flags of mesos-master that mean something here."""
    settings = master.settings
    return {
        "agent_ping_timeout": mesos_duration(settings.agent_ping_timeout_s),
        "allocation_interval": mesos_duration(settings.allocation_interval_s),
        "authenticate_frameworks": "false",
        "authenticate_http_frameworks": "false",
        "authenticate_http_readonly": "false",
        "authenticate_http_readwrite": "false",
        "max_agent_ping_timeouts": str(settings.max_agent_ping_timeouts),
        "min_allocatable_resources": "cpus:0.01|mem:32",
        **({} if settings.offer_timeout_s is None else {"offer_timeout": mesos_duration(settings.offer_timeout_s)}),
        "port": str(master.info["port"]),
        "registry": "in_memory",
    }


def state(master: Master, flags: Mapping[str, str]) -> Json:
    return {
        **view.version(),
        "start_time": master.started_s,
        "elected_time": master.started_s,
        "id": master.master_id,
        "pid": master.info["pid"],
        "hostname": master.info["hostname"],
        "capabilities": [each["type"] for each in master.info["capabilities"]],
        "activated_slaves": float(sum(agent.connected for agent in master.agents.values())),
        "deactivated_slaves": float(sum(not agent.connected for agent in master.agents.values())),
        "unreachable_slaves": float(len(master.unreachable)),
        "leader": master.info["pid"],
        "leader_info": {name: master.info[name] for name in ("id", "pid", "port", "hostname")},
        "flags": dict(flags),
        "slaves": [_agent(master, agent) for agent in master.agents.values()],
        "recovered_slaves": [],
        "frameworks": [_framework(master, framework) for framework in master.frameworks.values()],
        "completed_frameworks": [_framework(master, framework) for framework in master.completed],
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    }


def slaves(master: Master) -> Json:
    return {
        "slaves": [_agent(master, agent) | _agent_full(master, agent) for agent in master.agents.values()],
        "recovered_slaves": [],
    }


def _agent(master: Master, agent: AgentRecord) -> Json:
    offered = _offered(master, agent_id=agent.agent_id)
    unreserved, reserved = view.by_reservation(agent.total)
    return {
        "id": agent.agent_id,
        "hostname": agent.info["hostname"],
        "port": agent.info["port"],
        "attributes": {},
        "pid": f"slave(1)@{agent.info['hostname']}:{agent.info['port']}",
        "registered_time": agent.registered_s,
        **({} if agent.reregistered_s is None else {"reregistered_time": agent.reregistered_s}),
        "resources": view.summary(agent.total),
        "used_resources": view.summary(_used(master, agent)),
        "offered_resources": view.summary(offered),
        "reserved_resources": {role: view.summary(part) for role, part in reserved.items()},
        "unreserved_resources": view.summary(unreserved),
        "active": agent.connected,
        "deactivated": False,
        "version": view.MESOS_VERSION,
        "capabilities": list(view.AGENT_CAPABILITIES),
    }


def _agent_full(master: Master, agent: AgentRecord) -> Json:
    return {
        **view.reservations(agent.total),
        "used_resources_full": view.full(_used(master, agent)),
        "offered_resources_full": view.full(_offered(master, agent_id=agent.agent_id)),
    }


def _used(master: Master, agent: AgentRecord) -> Resources:
    return view.total(framework.used(agent.agent_id) for framework in master.frameworks.values())


def _offered(master: Master, agent_id: str | None = None, framework_id: str | None = None) -> Resources:
    return view.total(
        offer.resources
        for offer in master.offers.values()
        if agent_id in (None, offer.agent_id) and framework_id in (None, offer.framework_id)
    )


def _framework(master: Master, framework: Framework) -> Json:
    info = framework.info
    offered = _offered(master, framework_id=framework.framework_id)
    offers = [offer for offer in master.offers.values() if offer.framework_id == framework.framework_id]
    return {
        "id": framework.framework_id,
        "name": info.get("name", ""),
        "used_resources": view.summary(framework.used()),
        "offered_resources": view.summary(offered),
        "capabilities": sorted(framework.capabilities),
        "hostname": info.get("hostname", ""),
        "webui_url": info.get("webui_url", ""),
        "active": framework.connected,
        "connected": framework.connected,
        "recovered": False,
        "user": info.get("user", ""),
        "failover_timeout": float(info.get("failover_timeout", 0.0)),
        "checkpoint": bool(info.get("checkpoint", False)),
        "registered_time": framework.registered_s,
        **({} if framework.reregistered_s is None else {"reregistered_time": framework.reregistered_s}),
        "unregistered_time": framework.ended_s or 0.0,
        "resources": view.summary(framework.used() + offered),
        **view.roles(info),
        "tasks": [view.task(task) for task in framework.tasks.values()],
        "unreachable_tasks": [view.task(task) for task in framework.unreachable_tasks.values()],
        "completed_tasks": [view.task(task) for task in framework.completed_tasks],
        "offers": [_offer(offer) for offer in offers],
        "executors": [_executor(agent_id, executor) for (agent_id, _), executor in framework.executors.items()],
        "offer_constraints": {},
    }


def _offer(offer: Offer) -> Json:
    return {
        "id": offer.offer_id,
        "framework_id": offer.framework_id,
        "slave_id": offer.agent_id,
        "resources": view.summary(offer.resources),
        "allocation_info": {"role": offer.role},
    }


def _executor(agent_id: str, executor: Executor) -> Json:
    info = executor.info
    command = info["command"]
    return {
        "executor_id": info["executor_id"]["value"],
        "name": info.get("name", ""),
        "framework_id": info["framework_id"]["value"],
        "command": {
            "value": command.get("value", ""),
            "argv": command.get("arguments", []),
            "uris": command.get("uris", []),
        },
        "resources": view.summary(executor.resources),
        "role": view.role_of(executor.resources),
        "type": info.get("type", "CUSTOM"),
        "slave_id": agent_id,
        **view.labels(info),
    }


def api_v1(master: Master, kind: str, flags: Mapping[str, str]) -> Json | None:
    """The answer to a GET_* call; None for one that is not supported."""
    answers: dict[str, Callable[[], object]] = {
        "GET_AGENTS": lambda: {
            "agents": [_agent_v1(master, agent) for agent in master.agents.values()],
            "recovered_agents": [],
        },
        "GET_FLAGS": lambda: view.flags_v1(flags),
        "GET_FRAMEWORKS": lambda: {
            "frameworks": [_framework_v1(master, each) for each in master.frameworks.values()],
            "completed_frameworks": [_framework_v1(master, each) for each in master.completed],
        },
        "GET_HEALTH": lambda: {"healthy": True},
        "GET_MASTER": lambda: {
            "master_info": master.info,
            "start_time": master.started_s,
            "elected_time": master.started_s,
        },
        "GET_TASKS": lambda: {
            "tasks": [task.to_v1() for each in master.frameworks.values() for task in each.tasks.values()],
            "unreachable_tasks": [
                task.to_v1() for each in master.frameworks.values() for task in each.unreachable_tasks.values()
            ],
            "completed_tasks": [
                task.to_v1()
                for each in (*master.frameworks.values(), *master.completed)
                for task in each.completed_tasks
            ],
        },
        "GET_VERSION": lambda: {"version_info": view.version()},
    }
    return view.v1(kind, answers[kind]()) if kind in answers else None


def _agent_v1(master: Master, agent: AgentRecord) -> Json:
    return {
        "agent_info": {**agent.info, "checkpoint": True},
        "active": agent.connected,
        "deactivated": False,
        "version": view.MESOS_VERSION,
        "pid": f"slave(1)@{agent.info['hostname']}:{agent.info['port']}",
        "registered_time": _nanoseconds(agent.registered_s),
        "total_resources": view.full(agent.total),
        "allocated_resources": view.full(_used(master, agent)),
        "offered_resources": view.full(_offered(master, agent_id=agent.agent_id)),
        "capabilities": [{"type": each} for each in view.AGENT_CAPABILITIES],
        "resource_providers": [view.provider(each.info, each.total) for each in agent.providers.values()],
    }


def _framework_v1(master: Master, framework: Framework) -> Json:
    offers = [offer for offer in master.offers.values() if offer.framework_id == framework.framework_id]
    return {
        "framework_info": framework.info,
        "active": framework.connected,
        "connected": framework.connected,
        "recovered": False,
        "registered_time": _nanoseconds(framework.registered_s),
        "reregistered_time": _nanoseconds(framework.reregistered_s or framework.registered_s),
        **({} if framework.ended_s is None else {"unregistered_time": _nanoseconds(framework.ended_s)}),
        "offers": [offering.offer_json(master, offer) for offer in offers],
        "allocated_resources": view.full(framework.used()),
        "offered_resources": view.full(_offered(master, framework_id=framework.framework_id)),
        "offer_constraints": {},
    }


def _nanoseconds(time_s: float) -> Json:
    return {"nanoseconds": round(time_s * _NS_PER_S)}

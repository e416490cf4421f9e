"""How an executor is started: its ExecutorInfo if the agent makes one, its sandbox, its environment.  Pure.

Measured on Mesos 1.11 and 1.12; ``Slave::getExecutorInfo`` and ``executorEnvironment`` in
``src/slave/slave.cpp``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serenity.localmesos.agent.state import Executor
from serenity.localmesos.messages import LaunchContainer
from serenity.wire.mesos.resources import Json, Resources

COMMAND_EXECUTOR_CPUS = 0.1
COMMAND_EXECUTOR_MEM_MB = 32
# Mesos leaves the executor this much longer than the kill policy asks for.
_KILL_MARGIN_S = 2.0
_NS_PER_S = 10**9
# The PATH that stout's `os::host_default_path` gives when the environment has none.
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNITS_S = (("weeks", 604800.0), ("days", 86400.0), ("hrs", 3600.0), ("mins", 60.0), ("secs", 1.0), ("ms", 1e-3))


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """An agent's identity, and the flags of mesos-agent that localmesos follows, with mesos-agent's defaults."""

    agent_id: str
    hostname: str
    ip: str
    port: int
    work_dir: Path
    resources: Resources
    import_path: str  # The PYTHONPATH on which Python finds the command executor, installed or not.
    resources_flag: str = ""  # The text that `resources` were parsed from.
    isolation: str = "posix"  # Or "cgroups".
    cgroups_root: str = "mesos"
    revocable_cpu_low_priority: bool = True
    executor_registration_timeout_s: float = 60.0
    executor_reregistration_timeout_s: float = 2.0
    executor_shutdown_grace_period_s: float = 5.0
    recovery_timeout_s: float = 900.0

    @property
    def info(self) -> Json:
        """The AgentInfo."""
        return {
            "hostname": self.hostname,
            "port": self.port,
            "resources": self.resources.to_json(),
            "id": {"value": self.agent_id},
        }

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"


def command_executor_info(task: Mapping[str, Any], framework_id: str, settings: AgentSettings) -> Json:
    """The ExecutorInfo that the agent makes for a task with a command and no executor."""
    task_id = task["task_id"]["value"]
    command = task["command"]
    environment = list(command.get("environment", {}).get("variables", []))
    environment.append({"name": "PYTHONPATH", "value": settings.import_path})
    role = next((each["allocation_info"] for each in task["resources"] if "allocation_info" in each), None)
    overhead = Resources.scalar("cpus", COMMAND_EXECUTOR_CPUS) + Resources.scalar("mem", COMMAND_EXECUTOR_MEM_MB)
    info: Json = {
        "executor_id": {"value": task_id},
        "framework_id": {"value": framework_id},
        "command": {
            "shell": False,
            "value": sys.executable,
            # By its whole path Python finds its packages.  -P: nothing may be imported from the sandbox, its folder.
            "arguments": [sys.executable, "-P", "-m", "serenity.localmesos.agent.command_executor"],
            "environment": {"variables": environment},
            **{name: command[name] for name in ("user", "uris") if name in command},
        },
        "resources": [{**each, **({"allocation_info": role} if role else {})} for each in overhead.to_json()],
        "name": f"Command Executor (Task: {task_id}) (Command: {_abridged(command)})",
        "source": task_id,
        **{name: task[name] for name in ("labels", "discovery") if name in task},
    }
    grace = task.get("kill_policy", {}).get("grace_period", {}).get("nanoseconds")
    if grace is not None:
        info["shutdown_grace_period"] = {"nanoseconds": int(grace) + round(_KILL_MARGIN_S * _NS_PER_S)}
    return info


def _abridged(command: Mapping[str, Any]) -> str:
    shell = command.get("shell", True)
    value = command.get("value", "")
    text = value if shell else f"{value}, {', '.join(command.get('arguments', []))}"
    if len(text) > 15:
        text = f"{text[:12]}..."
    return f"sh -c '{text}'" if shell else f"[{text}]"


def sandbox_path(settings: AgentSettings, framework_id: str, executor_id: str, container_id: str) -> Path:
    executor = Path("slaves", settings.agent_id, "frameworks", framework_id, "executors", executor_id)
    return settings.work_dir / executor / "runs" / container_id


def shutdown_grace_s(executor_info: Mapping[str, Any], settings: AgentSettings) -> float:
    grace = executor_info.get("shutdown_grace_period", {}).get("nanoseconds")
    return settings.executor_shutdown_grace_period_s if grace is None else int(grace) / _NS_PER_S


def launch_of(framework_info: Mapping[str, Any], executor: Executor, settings: AgentSettings) -> LaunchContainer:
    """How the first process of an executor's container is started."""
    command = executor.info["command"]
    environment = _environment(framework_info, executor.info, executor.sandbox, settings)
    for variable in command.get("environment", {}).get("variables", []):
        if "value" in variable:
            environment[variable["name"]] = variable["value"]
    value = command.get("value", "")
    shell = command.get("shell", True)
    return LaunchContainer(
        container_id=executor.container_id,
        allocated=executor.allocated,
        sandbox=executor.sandbox,
        argv=("sh", "-c", value) if shell else tuple(command.get("arguments") or [value]),
        program="/bin/sh" if shell else value,
        environment=environment,
        user=command.get("user") or framework_info.get("user") or None,
        uris=tuple(each["value"] for each in command.get("uris", [])),
    )


def _environment(
    framework_info: Mapping[str, Any], executor_info: Mapping[str, Any], sandbox: Path, settings: AgentSettings
) -> dict[str, str]:
    environment = {
        "LIBPROCESS_IP": settings.ip,
        "LIBPROCESS_PORT": "0",
        "MESOS_AGENT_ENDPOINT": settings.address,
        "MESOS_CHECKPOINT": "1" if framework_info.get("checkpoint") else "0",
        "MESOS_DIRECTORY": str(sandbox),
        "MESOS_EXECUTOR_ID": executor_info["executor_id"]["value"],
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": mesos_duration(shutdown_grace_s(executor_info, settings)),
        "MESOS_FRAMEWORK_ID": framework_info["id"]["value"],
        "MESOS_HTTP_COMMAND_EXECUTOR": "0",
        "MESOS_SANDBOX": str(sandbox),
        "MESOS_SLAVE_ID": settings.agent_id,
        "MESOS_SLAVE_PID": f"slave(1)@{settings.address}",
        "PATH": _DEFAULT_PATH,
    }
    if framework_info.get("checkpoint"):
        environment["MESOS_RECOVERY_TIMEOUT"] = mesos_duration(settings.recovery_timeout_s)
        environment["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = mesos_duration(settings.executor_reregistration_timeout_s)
    return environment


def mesos_duration(duration_s: float) -> str:
    """As stout prints it: ``5secs``, ``1.5mins``."""
    for name, unit_s in _UNITS_S:
        if duration_s >= unit_s:
            return f"{duration_s / unit_s:.15g}{name}"
    return f"{duration_s * _NS_PER_S:.0f}ns"

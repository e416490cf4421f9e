"""The task that an estimator is: what it is called, and the TaskInfo that launches it."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from serenity import __version__
from serenity.wire.mesos.resources import Json, Resources
from serenity.wire.messages.node import ESTIMATOR_LABEL

# -P: its working directory is a sandbox, and nothing in it may be imported.
DEFAULT_ESTIMATOR_COMMAND = shlex.join([sys.executable, "-P", "-m", "serenity", "estimator"])
# No job's id is this long.
_PREFIX = "estimator"
# The estimator lowers its total before it goes, so that no launch is on its way then.
GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class TaskId:
    """``estimator.VERSION.TIME.AGENT``: whoever finds such a task knows what it is, and where."""

    version: str  # The template's digest.
    launched_ms: int  # Since the epoch: Mesos wants no id twice.
    agent_id: str

    def __str__(self) -> str:
        return f"{_PREFIX}.{self.version}.{self.launched_ms:x}.{self.agent_id}"

    @classmethod
    def parse(cls, task_id: str) -> TaskId | None:
        """None for a task that is no estimator."""
        prefix, *parts = task_id.split(".", 3)
        if prefix != _PREFIX or len(parts) != 3:
            return None
        version, launched, agent_id = parts
        try:
            return cls(version, int(launched, 16), agent_id)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class EstimatorTemplate:
    """What all estimators of one version have in common.

    `slack_role`: the role to which the slack is reserved that they report.  `role`: the one to which the resources
    are reserved that they run on.
    """

    command: str
    environment: Mapping[str, str] = field(default_factory=dict)
    slack_role: str = "serenity"
    role: str = "serenity-estimator"
    cpus: float = 0.1
    mem_mb: float = 256.0
    release: str = __version__

    @property
    def version(self) -> str:
        """The same for the same command, environment, resources and release; else it is another estimator."""
        parts = [self.command, dict(self.environment), self.slack_role, self.cpus, self.mem_mb, self.release]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    def part_of(self, offered: Resources) -> Resources | None:
        """Enough for one estimator, of what is reserved for them; None where that is less."""
        reserved = Resources({kind: value for kind, value in offered.regular if kind.role == self.role})
        cpus, mem = reserved.take("cpus", self.cpus), reserved.take("mem", self.mem_mb)
        return cpus + mem if cpus is not None and mem is not None else None

    def task_info(self, task_id: str, agent_id: str, agent_url: str, resources: Resources) -> Json:
        command = f"exec {self.command} --agent {shlex.quote(agent_url)} --role {shlex.quote(self.slack_role)}"
        variables = [{"name": name, "value": value} for name, value in sorted(self.environment.items())]
        return {
            "name": "serenity-estimator",
            "task_id": {"value": task_id},
            "agent_id": {"value": agent_id},
            "resources": resources.to_json(),
            "command": {"shell": True, "value": command, "environment": {"variables": variables}},
            # The estimator must see everybody's processes, also where each container gets its own (namespaces/pid).
            "container": {"type": "MESOS", "linux_info": {"share_pid_namespace": True}},
            "kill_policy": {"grace_period": {"nanoseconds": round(GRACE_S * 1e9)}},
            "labels": {
                "labels": [
                    {"key": "serenity.version", "value": self.release},
                    {"key": ESTIMATOR_LABEL, "value": self.version},
                ]
            },
        }

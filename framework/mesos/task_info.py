"""The Mesos messages that launch a task: TaskInfo, and the ExecutorInfo it runs under."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from serenity import __version__
from serenity.framework.jobs.job import Attempt, Job
from serenity.wire.mesos.resources import Json, Resources
from serenity.wire.mesos.scheduler import encode_data
from serenity.wire.messages.task_spec import TaskSpec

LABEL_JOB = "serenity.job"
LABEL_NAME = "serenity.name"
# -P: the executor's working directory is a sandbox, and nothing in it may be imported.
DEFAULT_EXECUTOR_COMMAND = shlex.join([sys.executable, "-P", "-m", "serenity", "executor"])


@dataclass(frozen=True, slots=True)
class ExecutorTemplate:
    """What all executors of one configuration have in common; `resources` make it one agent's."""

    framework_id: str
    command: str
    environment: Mapping[str, str] = field(default_factory=dict)
    cpus: float = 0.1
    mem_mb: float = 128.0
    version: str = __version__

    @property
    def digest(self) -> str:
        """Same configuration, same digest: an executor with another digest drains."""
        parts = [self.framework_id, self.command, dict(self.environment), self.cpus, self.mem_mb, self.version]
        return _digest(parts)

    def info(self, resources: Resources) -> Json:
        """The ExecutorInfo.  Its id is a hash of all of it: Mesos wants one id to mean one content."""
        info: Json = {
            "type": "CUSTOM",
            "framework_id": {"value": self.framework_id},
            "name": "serenity",
            "source": "serenity",
            # Another version is another executor, which shares an agent with the old one while that drains.
            "labels": {"labels": [{"key": "serenity.version", "value": self.version}]},
            "command": {
                "shell": True,
                "value": f"exec {self.command}",
                "environment": {
                    "variables": [{"name": name, "value": value} for name, value in sorted(self.environment.items())]
                },
            },
            "resources": resources.to_json(),
        }
        return {**info, "executor_id": {"value": f"serenity-{_digest(info)}"}}


def task_info(job: Job, attempt: Attempt, agent_id: str, resources: Resources, executor: Json) -> Json:
    request = job.request
    spec = TaskSpec(
        job_id=job.id,
        job_name=job.name,
        instance=attempt.instance,
        attempt=attempt.number,
        argv=request.argv,
        cpus=request.cpus,
        mem_bytes=request.mem_bytes,
        env=request.env,
        user=request.user,
        disk_bytes=request.disk_bytes,
        uris=request.uris,
        max_runtime_s=request.max_runtime_s,
        grace_s=request.grace_s,
        schema=2 if request.uris else 1,
    )
    labels = {**request.labels, LABEL_JOB: job.id, LABEL_NAME: job.name}
    return {
        "name": f"{job.name}.{attempt.instance}",
        "task_id": {"value": attempt.task_id},
        "agent_id": {"value": agent_id},
        "resources": resources.to_json(),
        "executor": executor,
        "data": encode_data(spec.encode()),
        "labels": {"labels": [{"key": key, "value": value} for key, value in labels.items()]},
        "kill_policy": {"grace_period": {"nanoseconds": round(request.grace_s * 1e9)}},
    }


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

"""What a task finds in its environment: what Mesos gives every executor's children, what the job asks for, what we add.

The later goes before the earlier.  Nothing is handed on that is between Mesos and the executor
(its token, addresses, keys: all of ``MESOS_*``, but who it is, and ``LIBPROCESS_*``) or its own settings
(``SERENITY_*``).  Nobody logs any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serenity.executor.tasks.guardian import MARK
from serenity.executor.tasks.trees import TASK_VARIABLE
from serenity.executor.tasks.users import User
from serenity.wire.messages.task_spec import TaskSpec

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT_BACK = ("MESOS_", "LIBPROCESS_", "SERENITY_")
_WHO_IT_IS = ("MESOS_FRAMEWORK_ID", "MESOS_EXECUTOR_ID", "MESOS_SLAVE_ID", "MESOS_CONTAINER_IP")
# Of the shell that has started the executor; untrue for a task.
_OF_A_SHELL = ("_", "PWD", "OLDPWD", "SHLVL")


def handed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the executor's own environment that all tasks inherit."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _WHO_IT_IS or not (name.startswith(_KEPT_BACK) or name in _OF_A_SHELL)
    }
    return {"PATH": _PATH, **kept}


def environment(
    task_id: str, spec: TaskSpec, folder: Path, container_id: str, inherited: Mapping[str, str], user: User | None
) -> dict[str, str]:
    """`user`: where it is another than the executor's."""
    who = {} if user is None else {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    return {
        **inherited,
        **who,
        "MESOS_TASK_ID": task_id,
        **spec.env,
        "MESOS_SANDBOX": str(folder),
        "SERENITY_JOB": spec.job_id,
        "SERENITY_INSTANCE": str(spec.instance),
        "SERENITY_ATTEMPT": str(spec.attempt),
        TASK_VARIABLE: task_id,
        MARK: container_id,
    }

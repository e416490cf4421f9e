"""Where a task's files are: the executor makes them, the framework reads them through the agent's ``/files``."""

from __future__ import annotations

from typing import Literal

Output = Literal["stdout", "stderr"]


def task_folder(task_id: str) -> str:
    """The task's working directory, relative to its executor's sandbox."""
    return f"tasks/{task_id}"


def output_file(task_id: str, output: Output) -> str:
    """Relative to the executor's sandbox.  Raw bytes, as the task wrote them."""
    return f"{task_folder(task_id)}/{output}"

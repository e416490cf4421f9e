"""Where a task's files are: the executor makes them, the framework reads them through the agent's ``/files``.

Of an output beyond its limit only the last part is kept, in two files: ``stdout`` is the end of
it, still written to, and ``stdout.OFFSET`` what was before, named for the place in the whole
output of its first byte.  So `stdout` begins at OFFSET plus the size of that file.
"""

from __future__ import annotations

from typing import Literal

Output = Literal["stdout", "stderr"]


def task_folder(task_id: str) -> str:
    """The task's working directory, relative to its executor's sandbox."""
    return f"tasks/{task_id}"


def output_file(task_id: str, output: Output) -> str:
    """Relative to the executor's sandbox.  Raw bytes, as the task wrote them."""
    return f"{task_folder(task_id)}/{output}"


def rotated_name(output: Output, offset: int) -> str:
    return f"{output}.{offset}"


def rotated_offset(output: Output, name: str) -> int | None:
    """None when a file of that name is none of this output's."""
    offset = name.removeprefix(f"{output}.")
    return int(offset) if offset != name and offset.isascii() and offset.isdecimal() else None

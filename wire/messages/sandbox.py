"""Where a task's files are: the executor makes them, the framework reads them through the agent's ``/files``.

Only the last part of an output that exceeds its limit is kept, in two files.  ``stdout`` is the end, still written to;
``stdout.OFFSET`` is the part before it, and OFFSET the place of that file's first byte in the whole output.  So
``stdout`` begins at OFFSET plus the size of ``stdout.OFFSET``.
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
    """The OFFSET of such a file name; None if the file is not of this output."""
    offset = name.removeprefix(f"{output}.")
    return int(offset) if offset != name and offset.isascii() and offset.isdecimal() else None

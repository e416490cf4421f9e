"""What the framework tells the executor about one task: the content of ``TaskInfo.data``."""

from __future__ import annotations

import msgspec

from serenity.wire.messages.uris import Uri
from serenity.wire.transport.undecodable import UNDECODABLE


class TaskSpecError(ValueError):
    """The task cannot be run as it is described; the text names the field."""


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one instance of a job.

    Unknown fields are ignored, so that an executor of an older version runs what it can.  A change that such an
    executor must not ignore comes with a higher `schema`.
    """

    job_id: str
    job_name: str
    instance: int
    attempt: int
    argv: tuple[str, ...]
    cpus: float
    mem_bytes: int
    env: dict[str, str] = {}
    user: str | None = None
    disk_bytes: int | None = None  # For its sandbox; None: the limit that the executor has for any task.
    uris: tuple[Uri, ...] = ()
    max_runtime_s: float | None = None
    grace_s: float = 5.0  # Between SIGTERM and SIGKILL.
    schema: int = 1  # 2: with URIs.

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> TaskSpec:
        """Raises TaskSpecError."""
        try:
            spec = msgspec.json.decode(data, type=cls)
        except UNDECODABLE as error:
            raise TaskSpecError(f"no task description: {error}") from error
        if spec.schema not in (1, 2):
            raise TaskSpecError(f"a task description of schema {spec.schema}; this executor knows 1 and 2")
        if not spec.argv:
            raise TaskSpecError("the task has no command")
        return spec

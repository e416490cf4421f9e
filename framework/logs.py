"""A task's output, read through its agent's ``/files``."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from serenity.framework.jobs import Attempt
from serenity.wire import api
from serenity.wire.access import Access
from serenity.wire.http import Endpoint, HttpError, get_json, request
from serenity.wire.sandbox import Output, output_file

# Mesos itself gives no more at once: 16 pages.
_PIECE_BYTES = 64 * 1024
# How far back the last lines are looked for.
_MAX_TAIL_BYTES = 1024 * 1024


class NoLog(Exception):  # noqa: N818 - reads as what it says
    """There is no such output; `gone` says whether there was once."""

    def __init__(self, text: str, gone: bool = False) -> None:
        super().__init__(text)
        self.gone = gone


def read(attempt: Attempt, framework_id: str, output: Output, offset: int, access: Access) -> api.Log:
    """A piece from byte `offset` on.

    Raises:
        NoLog: never started, or its sandbox is gone.
        Unreachable, HttpError: the agent does not answer, or not with a log.
    """
    file = _locate(attempt, framework_id, output, access)
    size = _size(file, attempt)
    length = min(_PIECE_BYTES, max(0, size - offset))
    return _log(attempt, _bytes(file, offset, length), offset + length, size)


def tail(attempt: Attempt, framework_id: str, output: Output, lines: int, access: Access) -> api.Log:
    """The last `lines` lines.  Raises as `read` does."""
    file = _locate(attempt, framework_id, output, access)
    size = _size(file, attempt)
    start, data = size, b""
    while start > 0 and len(data) < _MAX_TAIL_BYTES and data.count(b"\n") <= lines:
        piece = min(_PIECE_BYTES, start)
        start -= piece
        data = _bytes(file, start, piece) + data
    kept = data.splitlines(keepends=True)[-lines:] if lines else []
    return _log(attempt, b"".join(kept), size, size)


@dataclass(frozen=True, slots=True)
class _File:
    """One of an agent's, by its path as ``/files`` knows it."""

    agent: Endpoint
    access: Access
    path: str


def _locate(attempt: Attempt, framework_id: str, output: Output, access: Access) -> _File:
    if attempt.place is None:
        raise NoLog(f"{attempt.task_id} has not been started, so it has written nothing")
    agent = Endpoint.parse(attempt.place.agent_url)
    folder = _sandbox(get_json(agent, "/state", access=access), framework_id, attempt)
    if folder is None:
        if attempt.running_at is None and not attempt.ended:
            raise NoLog(f"{attempt.task_id} is being launched; it has written nothing yet")
        raise NoLog(f"the sandbox of {attempt.task_id} on {attempt.place.hostname} is gone", gone=True)
    return _File(agent, access, f"{folder}/{output_file(attempt.task_id, output)}")


def _sandbox(state: Any, framework_id: str, attempt: Attempt) -> str | None:
    """The folder of the executor that ran the attempt, out of an agent's ``/state``."""
    assert attempt.place is not None
    for framework in [*state.get("frameworks", []), *state.get("completed_frameworks", [])]:
        if framework["id"] != framework_id:
            continue
        for executor in [*framework.get("executors", []), *framework.get("completed_executors", [])]:
            same_run = attempt.container_id is None or executor["container"] == attempt.container_id
            if executor["id"] == attempt.place.executor_id and same_run:
                return str(executor["directory"])
    return None


def _size(file: _File, attempt: Attempt) -> int:
    try:
        found = get_json(file.agent, f"/files/read?path={quote(file.path)}&offset=-1", access=file.access)
    except HttpError as error:
        if error.status != 404:
            raise
        assert attempt.place is not None
        if not attempt.ended:
            raise NoLog(f"{attempt.task_id} has written nothing yet") from None
        raise NoLog(f"the output of {attempt.task_id} on {attempt.place.hostname} is gone", gone=True) from None
    return int(found["offset"])


def _bytes(file: _File, offset: int, length: int) -> bytes:
    if length <= 0:
        return b""
    path = f"/files/read?path={quote(file.path)}&offset={offset}&length={length}"
    answer = request(file.agent, "GET", path, access=file.access)
    if answer.status != 200:
        raise HttpError(answer.status, answer.body, f"GET {file.agent}/files/read")
    # Mesos copies the file's bytes into its JSON as they are, UTF-8 or not.
    content = json.loads(answer.body.decode("utf-8", "surrogateescape"))["data"]
    return bytes(content.encode("utf-8", "surrogateescape"))


def _log(attempt: Attempt, data: bytes, end: int, size: int) -> api.Log:
    """`data` ends at byte `end`; a character that is cut in the middle there is left for the next piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=attempt.ended and end >= size)
    cut = len(decoder.getstate()[0])
    return api.Log(task=attempt.task_id, text=text, next_offset=end - cut, ended=attempt.ended and end >= size)

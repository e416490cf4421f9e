"""A task's output, read through its agent's ``/files``."""

from __future__ import annotations

import codecs
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serenity.framework.jobs.job import Attempt
from serenity.framework.mesos.agent_files import AgentFiles
from serenity.wire.messages import api
from serenity.wire.messages.sandbox import Output, rotated_offset, task_folder
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import Endpoint, HttpError

# Mesos itself gives no more at once: 16 pages.
_PIECE_BYTES = 64 * 1024
# How far back the last lines are looked for.
_MAX_TAIL_BYTES = 1024 * 1024
# An output is cut once a second at most.
_LOOKS = 3


class NoLog(Exception):  # noqa: N818 - reads as what it says
    """There is no such output; `gone` says whether there was once."""

    def __init__(self, text: str, gone: bool = False) -> None:
        super().__init__(text)
        self.gone = gone


def read(attempt: Attempt, framework_id: str, output: Output, offset: int, access: Access) -> api.Log:
    """A piece from byte `offset` of the output on, or from the first byte that is still kept.

    Raises:
        NoLog: never started, or its sandbox is gone.
        Unreachable, HttpError: the agent does not answer, or not with a log.
    """
    where = _locate(attempt, framework_id, output, access)

    def piece(parts: Sequence[_Part]) -> api.Log:
        begin, size = max(offset, parts[0].begin), parts[-1].end
        length = min(_PIECE_BYTES, max(0, size - begin))
        return _log(attempt, _bytes(where, parts, begin, length), begin + length, size)

    return _unmoved(where, attempt, piece)


def tail(attempt: Attempt, framework_id: str, output: Output, lines: int, access: Access) -> api.Log:
    """The last `lines` lines.  Raises as `read` does."""
    where = _locate(attempt, framework_id, output, access)

    def last(parts: Sequence[_Part]) -> api.Log:
        first, size = parts[0].begin, parts[-1].end
        start, data = size, b""
        while start > first and len(data) < _MAX_TAIL_BYTES and data.count(b"\n") <= lines:
            piece = min(_PIECE_BYTES, start - first)
            start -= piece
            data = _bytes(where, parts, start, piece) + data
        kept = data.splitlines(keepends=True)[-lines:] if lines else []
        return _log(attempt, b"".join(kept), size, size)

    return _unmoved(where, attempt, last)


@dataclass(frozen=True, slots=True)
class _Where:
    """An output on an agent; the folder as ``/files`` knows it."""

    files: AgentFiles
    folder: str
    output: Output


@dataclass(frozen=True, slots=True)
class _Part:
    """A file with the bytes from `begin` to before `end` of an output."""

    path: str
    begin: int
    end: int


def _locate(attempt: Attempt, framework_id: str, output: Output, access: Access) -> _Where:
    if attempt.place is None:
        raise NoLog(f"{attempt.task_id} has not been started, so it has written nothing")
    files = AgentFiles(Endpoint.parse(attempt.place.agent_url), access)
    sandbox = files.sandbox(framework_id, attempt.place.executor_id, attempt.container_id)
    if sandbox is None:
        if attempt.running_at is None and not attempt.ended:
            raise NoLog(f"{attempt.task_id} is being launched; it has written nothing yet")
        raise NoLog(f"the sandbox of {attempt.task_id} on {attempt.place.hostname} is gone", gone=True)
    return _Where(files, f"{sandbox}/{task_folder(attempt.task_id)}", output)


def _unmoved(where: _Where, attempt: Attempt, look: Callable[[Sequence[_Part]], api.Log]) -> api.Log:
    """What `look` makes of the output's parts, which did not change places meanwhile (see `wire.messages.sandbox`)."""
    parts = _parts(where, attempt)
    for _ in range(_LOOKS):
        log, before = look(parts), parts
        parts = _parts(where, attempt)
        if parts[-1].begin == before[-1].begin:
            return log
    raise NoLog(f"{attempt.task_id} writes faster than its {where.output} can be read")


def _parts(where: _Where, attempt: Attempt) -> list[_Part]:
    """In order, each beginning where the one before ends."""
    try:
        sizes = where.files.browse(where.folder)
    except HttpError as error:
        if error.status != 404:
            raise
        sizes = {}
    paths = {posixpath.basename(path): path for path in sizes}
    if where.output not in paths:
        assert attempt.place is not None
        if not attempt.ended:
            raise NoLog(f"{attempt.task_id} has written nothing yet")
        raise NoLog(f"the output of {attempt.task_id} on {attempt.place.hostname} is gone", gone=True)
    parts: list[_Part] = []
    rotated = {offset: name for name in paths if (offset := rotated_offset(where.output, name)) is not None}
    if rotated:
        begin = max(rotated)
        before = paths[rotated[begin]]
        parts.append(_Part(before, begin, begin + sizes[before]))
    begin, newest = parts[-1].end if parts else 0, paths[where.output]
    return [*parts, _Part(newest, begin, begin + sizes[newest])]


def _bytes(where: _Where, parts: Sequence[_Part], begin: int, length: int) -> bytes:
    """At most a piece."""
    data = b""
    for each in parts:
        first, end = max(begin, each.begin), min(begin + length, each.end)
        if first < end:
            data += where.files.read(each.path, first - each.begin, end - first)
    return data


def _log(attempt: Attempt, data: bytes, end: int, size: int) -> api.Log:
    """`data` ends at byte `end`; a character that is cut in the middle there is left for the next piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=attempt.ended and end >= size)
    cut = len(decoder.getstate()[0])
    return api.Log(task=attempt.task_id, text=text, next_offset=end - cut, ended=attempt.ended and end >= size)

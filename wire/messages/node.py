"""The node's socket: what an agent's estimator and the executors on it tell each other.

A Unix stream socket at `socket_path`, one JSON object a line, each with a ``type``.  The
executor speaks first (`Hello`).  Either side ignores types and fields that it does not
know, and closes on a line that is no JSON or longer than `MAX_LINE_BYTES`.

    executor                               estimator
      Hello ──────────────────────────────►
      ◄───────────────── Welcome, History (any number)
      Tasks (whenever they change) ───────►
      ◄───────────────────── Sample (every interval)
      Lease, Release ─────────────────────►
      Accuse ─────────────────────────────►
      ◄──── Accused, to the executor that runs the task; else Unowned, to the one that asked

    operator                               estimator
      Operator ───────────────────────────►
      Lease, Release (any number) ────────►
      ◄────────────────────────── Leases, to each of these words

Accusations and operators came later, under the same protocol: who does not know them ignores them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import Meta

from serenity.wire.messages.kill_record import Detector, Protected, Selection, Signal, Window
from serenity.wire.transport.undecodable import UNDECODABLE

PROTOCOL = 1
# So begins what an estimator says that finds the node taken; a framework that started it reads that.
ANOTHER_ESTIMATOR = "another estimator runs on this node"
# Of an estimator's task on regular resources: it gets no row in frames, like one that is a system service.
ESTIMATOR_LABEL = "serenity.estimator"
MAX_LINE_BYTES = 8 * 1024 * 1024
# A Unix socket's path, with its NUL, must fit into sockaddr_un.
_MAX_SOCKET_PATH_BYTES = 107
_MOST_PID = 1 << 22  # PID_MAX_LIMIT of Linux.
_MOST_CPUS, _MOST_MEM_BYTES = 1e5, 1 << 53
_LATEST_S = 1e12  # Since the epoch.


class NodeProtocolError(ValueError):
    """The peer does not speak this protocol."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    framework_id: str
    executor_id: str
    container_id: str  # Of the executor: its tasks' rows replace this container's.
    pid: int
    protocol: int = PROTOCOL


class Operator(msgspec.Struct, frozen=True, kw_only=True, tag="operator"):
    """In place of `Hello`: who runs no tasks, and wants to see and move the valve."""

    pid: int
    protocol: int = PROTOCOL


class TaskOnNode(msgspec.Struct, frozen=True, kw_only=True):
    """A best-effort task, as its executor declares it.  `pid` leads the task's session.

    Numbers beyond what any machine has are refused: the estimator reckons with them at every sample.
    """

    task_id: str
    job: str
    pid: Annotated[int, Meta(ge=1, le=_MOST_PID)]
    cpus: Annotated[float, Meta(ge=0.0, le=_MOST_CPUS)]
    mem_bytes: Annotated[int, Meta(ge=0, le=_MOST_MEM_BYTES)]
    started_at: Annotated[float, Meta(ge=0.0, le=_LATEST_S)]
    cgroup: str | None = None  # Path below each v1 hierarchy or the v2 mount, where the task has its own.


class Tasks(msgspec.Struct, frozen=True, kw_only=True, tag="tasks"):
    """All tasks that this executor runs now; replaces what it said before."""

    tasks: tuple[TaskOnNode, ...]


class Lease(msgspec.Struct, frozen=True, kw_only=True, tag="lease"):
    """Closes the valve for at most `ttl_s`; sent again under the same holder, it is prolonged."""

    holder: str
    reason: str
    ttl_s: float


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="release"):
    holder: str


class Accuse(msgspec.Struct, frozen=True, kw_only=True, tag="accuse"):
    """That task, another executor's, is suspected first of what a production container suffers from.

    Said again for as long as that holds; it counts for `ttl_s`.  Its executor is to correct it.
    """

    task_id: str
    ttl_s: float
    cause: str
    severity: float
    protected_id: str  # Its row in the frames.
    protected: Protected
    signal: Signal
    window: Window
    detector: Detector
    selection: Selection


class Accused(msgspec.Struct, frozen=True, kw_only=True, tag="accused"):
    """Another executor, in the container `by`, says that of a task of yours."""

    by: str
    accusation: Accuse


class Unowned(msgspec.Struct, frozen=True, kw_only=True, tag="unowned"):
    """No other executor on this socket runs the task that you accused."""

    task_id: str


class HeldLease(msgspec.Struct, frozen=True, kw_only=True):
    holder: str
    reason: str
    ends_in_s: float


class Leases(msgspec.Struct, frozen=True, kw_only=True, tag="leases"):
    """Who holds the valve closed now.  `refused`: why the word that this answers was not followed; else empty."""

    leases: tuple[HeldLease, ...]
    refused: str = ""


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    agent_id: str
    hostname: str
    interval_s: float
    protocol: int = PROTOCOL


class Overcommitment(msgspec.Struct, frozen=True, kw_only=True):
    """By how much best-effort holds more than the slack there is now; never negative."""

    cpus: float = 0.0
    mem_bytes: int = 0


class Sample(msgspec.Struct, frozen=True, kw_only=True, tag="sample"):
    """One frame (a line of a frame trace), and how the slack stands."""

    frame: dict[str, Any]
    overcommitment: Overcommitment = Overcommitment()


class History(msgspec.Struct, frozen=True, kw_only=True, tag="history"):
    """The frames before the executor came, oldest first: what its detectors learn their baselines from.

    There is at least one of these messages, and as many as keep each short; each goes on where the last one ended.
    """

    frames: tuple[dict[str, Any], ...]


ToEstimator = Hello | Operator | Tasks | Lease | Release | Accuse
ToExecutor = Welcome | Sample | History | Accused | Unowned | Leases

M = TypeVar("M")
_to_estimator: msgspec.json.Decoder[ToEstimator] = msgspec.json.Decoder(ToEstimator)
_to_executor: msgspec.json.Decoder[ToExecutor] = msgspec.json.Decoder(ToExecutor)


class _Typed(msgspec.Struct):
    type: str


_typed = msgspec.json.Decoder(_Typed)


def encode_line(message: ToEstimator | ToExecutor) -> bytes:
    """Raises NodeProtocolError when the line would be too long for the peer."""
    line = msgspec.json.encode(message)
    if len(line) > MAX_LINE_BYTES:
        raise NodeProtocolError(f"a {type(message).__name__} of {len(line)} bytes; {MAX_LINE_BYTES} are the limit")
    return line + b"\n"


def decode_to_estimator(line: bytes) -> ToEstimator | None:
    """None for a type that this version does not know, which is to be ignored.  Raises NodeProtocolError."""
    return _decode(_to_estimator, get_args(ToEstimator), line)


def decode_to_executor(line: bytes) -> ToExecutor | None:
    """None for a type that this version does not know, which is to be ignored.  Raises NodeProtocolError."""
    return _decode(_to_executor, get_args(ToExecutor), line)


def _decode(decoder: msgspec.json.Decoder[M], known: tuple[type[msgspec.Struct], ...], line: bytes) -> M | None:
    try:
        return decoder.decode(line)
    except UNDECODABLE as error:
        with contextlib.suppress(*UNDECODABLE):  # Then the first error says it better.
            if _typed.decode(line).type not in {each.__struct_config__.tag for each in known}:
                return None
        raise NodeProtocolError(str(error)) from error


class LineReader:
    """Cuts a byte stream into lines."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Raises NodeProtocolError when a line grows beyond the limit."""
        searched = len(self._buffer)
        self._buffer += chunk
        while (end := self._buffer.find(b"\n", searched)) >= 0:
            if end > MAX_LINE_BYTES:
                break  # The check below says so.
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            searched = 0
            if line:
                yield line
        if len(self._buffer) > MAX_LINE_BYTES:
            raise NodeProtocolError(f"a line of more than {MAX_LINE_BYTES} bytes")


def run_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this node's sockets and locks are: SERENITY_RUN_DIR, else /run/serenity as root, else the user's own."""
    named = environ.get("SERENITY_RUN_DIR")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/run/serenity")
    return Path(environ.get("XDG_RUNTIME_DIR") or f"/tmp/serenity-{os.geteuid()}") / "serenity"


def socket_path(agent_id: str, directory: Path) -> Path:
    """The socket of one agent's estimator; both sides know the agent's id, and need nothing else.

    Its name is the agent's id, or a digest of it where the folder's path leaves no room for that.

    Raises:
        OSError: the folder's path is too long for any Unix socket.
    """
    for name in (agent_id, hashlib.sha256(agent_id.encode()).hexdigest()[:12]):
        path = directory / f"{name}.sock"
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
            return path
    text = "its path is too long for a Unix socket; set SERENITY_RUN_DIR to a shorter one"
    raise OSError(errno.ENAMETOOLONG, text, str(directory))


def originals_folder(directory: Path) -> Path:
    """Where each executor of the node writes down what it changes, and by a lock that it lives."""
    return directory / "originals"


def qos_off_file(directory: Path) -> Path:
    """The operator's switch: while it is there, the node's executors correct nothing, and let go of what they hold."""
    return directory / "qos-off"

"""`serenity qos record`: frames of this node into a trace that `serenity qos replay` reads."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

from serenity.cli.failure import Failure
from serenity.cli.output import words
from serenity.daemon import exits

if TYPE_CHECKING:
    from serenity.estimator.settings import EstimatorSettings
    from serenity.qos.sources.roster import Roster
    from serenity.wire.messages.node import ToExecutor
    from serenity.wire.transport.access import Access

Json = dict[str, Any]
_Lines = Generator[Json, None, None]


@click.command("record")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="For so long; else until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds a frame.")
@click.option("--agent", metavar="HOST:PORT", help="This node's agent (default: as [estimator] says).")
def command(file: Path, seconds: float | None, interval: float, agent: str | None) -> int:
    """Record this node's frames into FILE, gzipped if it ends in .gz; - is standard output.

    The frames are the estimator's, with a row for each best-effort task; where none runs, this
    command samples by itself.
    """
    settings, access = _settings(agent)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # As Ctrl-C: the frames so far are kept, whole.
    count = 0
    with contextlib.ExitStack() as opened:
        out = opened.enter_context(_opened(file))
        with contextlib.ExitStack() as unless_begun:
            if str(file) != "-":
                unless_begun.callback(file.unlink)
            interval_s, frames = _frames(settings, access, interval)
            opened.callback(frames.close)
            first = next(frames)
            unless_begun.pop_all()
        began, began_s = first["t"], time.monotonic()
        node = first.get("node", {})
        _write(
            out,
            {"trace": 1, "interval_s": interval_s, "node": node, "platform": platform.machine(), "began_at": began},
        )
        with contextlib.suppress(KeyboardInterrupt):
            for frame in itertools.chain([first], frames):
                if frame.get("node") == node:
                    frame.pop("node", None)
                _write(out, {**frame, "t": round(frame["t"] - began, 3)})
                count += 1
                if seconds is not None and time.monotonic() - began_s >= seconds:
                    break
    words(f"{count} frames in {file}")
    return exits.OK


def _settings(agent: str | None) -> tuple[EstimatorSettings, Access]:
    from serenity.daemon.settings import SettingsError, resolve
    from serenity.estimator.settings import EstimatorSettings
    from serenity.wire.transport.access import access_of
    from serenity.wire.transport.trust_files import UnusableFile

    try:
        settings, _origins = resolve(EstimatorSettings, "estimator", {"agent": agent})
        return settings, access_of(settings)
    except (SettingsError, UnusableFile) as error:
        raise Failure(str(error), exits.USAGE) from None


def _frames(settings: EstimatorSettings, access: Access, interval_s: float) -> tuple[float, _Lines]:
    """The seconds between frames, and an endless iterator of trace lines."""
    from serenity.daemon.clock import SystemClock
    from serenity.qos.sources.roster import Roster, asking_interval_s
    from serenity.wire.mesos.state import AgentReader
    from serenity.wire.messages import node
    from serenity.wire.transport.http import HttpError, Unreachable

    roster = Roster(AgentReader(settings.agent, access=access), SystemClock(), asking_interval_s(interval_s))
    try:
        agent_id = roster.ask().identity.agent_id
    except (Unreachable, HttpError) as error:
        raise Failure(f"{error}; name this node's agent by --agent HOST:PORT", exits.UNREACHABLE) from None
    try:
        path = node.socket_path(agent_id, settings.run_folder)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}", exits.USAGE) from None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        words(f"no estimator at {path}: sampling by itself, with one row for each best-effort executor")
        return interval_s, _sampled(roster, settings, interval_s)
    messages = _messages(connection)
    slowest_s = next((each.interval_s for each in messages if isinstance(each, node.Welcome)), interval_s)
    return max(interval_s, slowest_s), _received(messages, interval_s)


def _sampled(roster: Roster, settings: EstimatorSettings, interval_s: float) -> _Lines:
    from serenity.daemon.clock import SystemClock
    from serenity.estimator.ticks import Ticks
    from serenity.qos.sources.roster import asking_interval_s
    from serenity.qos.sources.sampler import Sampler
    from serenity.wire.transport.http import HttpError, Unreachable

    clock = SystemClock()
    pause = threading.Event()
    pause.wait(asking_interval_s(interval_s))
    with contextlib.suppress(Unreachable, HttpError):
        roster.ask()  # For the processes: without them the first frames would be empty of measurements.
    sampler, ticks = Sampler(roster, clock, settings.rules), Ticks(clock, interval_s)
    roster.start()
    try:
        sampler.sample(ticks.now_s())  # Rates need an earlier reading.
        while True:
            pause.wait(ticks.wait_s())
            yield sampler.sample(ticks.now_s()).to_json()
    finally:
        roster.stop()
        sampler.close()


def _messages(connection: socket.socket) -> Iterator[ToExecutor]:
    from serenity.wire.messages import node

    me = f"record {os.getpid()}"  # No container has this id.
    hello = node.Hello(framework_id="", executor_id="serenity qos record", container_id=me, pid=os.getpid())
    reader = node.LineReader()
    with connection:
        connection.sendall(node.encode_line(hello))
        while chunk := connection.recv(65536):
            for line in reader.feed(chunk):
                message = node.decode_to_executor(line)
                if message is not None:
                    yield message


def _received(messages: Iterator[ToExecutor], interval_s: float) -> _Lines:
    """The estimator's frames, `interval_s` apart, or as far apart as the estimator samples if that is slower."""
    from serenity.wire.messages import node

    last = -interval_s
    for message in messages:
        # A frame that comes up to a tenth of the interval early counts as the next one all the same.
        if isinstance(message, node.Sample) and message.frame["t"] - last >= 0.9 * interval_s:
            last = message.frame["t"]
            yield message.frame
    raise Failure("the estimator has ended; the frames until then are recorded", exits.UNREACHABLE)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    try:
        raw = file.open("xb")
    except FileExistsError:
        raise Failure(f"{file} exists; remove it, or record into another file", exits.USAGE) from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}", exits.USAGE) from None
    with raw:
        if file.suffix != ".gz":
            yield raw
            return
        with gzip.open(raw, "wb") as compressed:
            yield cast("IO[bytes]", compressed)


def _write(out: IO[bytes], line: Json) -> None:
    import msgspec

    out.write(msgspec.json.encode(line) + b"\n")
    out.flush()  # A recording that is cut off is valid up to that point.

"""The load on the demo's service: a process of its own, whose lines, one a second, are collected as they come."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence

from serenity.cli.demo.production import Service
from serenity.cli.demo.report import Second


class LoadFailed(Exception):  # noqa: N818
    """The load could not be put on the service; the text says why."""


def _command(address: str, rate: float) -> Sequence[str]:
    return [sys.executable, "-P", "-m", "serenity.cli.demo.load", "--address", address, "--rate", f"{rate:.0f}"]


def capacity_of(service: Service, address: str) -> float:
    """Operations a second that an instance of the service, started for this, answers at most.  Raises LoadFailed."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(service.argv, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        done = subprocess.run(
            _command(address, 0), stdin=nothing, capture_output=True, text=True, start_new_session=True
        )
    finally:
        process.terminate()
        process.wait()
    if done.returncode != 0:
        raise LoadFailed(done.stderr.strip() or f"the load exited with {done.returncode}")
    return float(json.loads(done.stdout)["capacity_ops_per_s"])


class LoadProcess:
    """Runs until `stop`; `seconds` grows by one a second."""

    def __init__(self, address: str, rate: float) -> None:
        # A session of its own: the load raises its own priority, which with autogroup is that of the session.
        self._process = subprocess.Popen(
            _command(address, rate),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._seconds: list[Second] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="load", daemon=True)
        self._reader.start()

    @property
    def seconds(self) -> list[Second]:
        with self._changed:
            return list(self._seconds)

    def wait_for_next(self, have: int, timeout_s: float) -> list[Second]:
        """All seconds, once there are more than `have` or the time is over.  Raises LoadFailed if the load ends."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._seconds) > have or self._process.poll() is not None, timeout_s)
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                raise LoadFailed(self._process.stderr.read().strip() or "the load ended")
            return list(self._seconds)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._seconds.append(Second.from_json(json.loads(line)))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

"""A driver in a process of its own, plain pymesos' or ours, and what the tests say about the two."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FRAMEWORK = {"user": "nobody", "name": "test", "roles": ["be"], "failover_timeout": 60.0}
_POLL_S = 0.005
# For what a test must see before it comes to its point.
_SET_UP_WITHIN_S = 20.0


class NotSeen(AssertionError):  # noqa: N818 - read as what they say
    """What was waited for did not come."""


class Died(AssertionError):  # noqa: N818
    """The driver ended its own process."""


class Raised(AssertionError):  # noqa: N818
    """A call to the driver raised: `kind` is the name of the exception's class."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


# An error in pymesos' thread is thrown into the main thread, wherever that is: it ends the program, or comes out of an
# innocent call, or is swallowed there, and then nobody knows that the thread is gone.
FATAL = (Died, Raised, NotSeen)


def fails_on_plain(
    defect: str, raises: type[AssertionError] | tuple[type[AssertionError], ...] = AssertionError
) -> pytest.MarkDecorator:
    """The test holds for our driver; on plain pymesos it must fail, with `raises`, for it has this `defect`."""
    plain = pytest.param("plain", marks=pytest.mark.xfail(strict=True, raises=raises, reason=defect))
    return pytest.mark.parametrize("kind", ["serenity", plain])


# Not a defect: here to show that plain pymesos runs, stand-in and all, and fails elsewhere for the reason given.
holds_on_plain = pytest.mark.parametrize("kind", ["serenity", "plain"])


class Nursery:
    """`driver_program.py`, from which the processes of one kind are forked."""

    def __init__(self, kind: str, folders: Sequence[Path]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(HERE / "driver_program.py"), kind, *map(str, folders)]
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs)

    def fork(self, environ: Mapping[str, str], log: Path) -> socket.socket:
        """A new process, to be talked to."""
        ours, theirs = socket.socketpair()
        with theirs:
            packet = json.dumps({"environ": dict(environ), "log": str(log)}).encode()
            socket.send_fds(self._control, [packet], [theirs.fileno()])
        return ours

    def close(self) -> None:
        self._control.close()
        assert self._process.wait() == 0


class Program:
    """One such process.  `patience_s` bounds the waiting for what a test is about."""

    def __init__(self, nursery: Nursery, environ: Mapping[str, str], log: Path, patience_s: float) -> None:
        self.at_import: dict[str, Any] = {}  # What importing the driver left of signal and log handlers.
        self.told: list[tuple[Any, ...]] = []  # Name and arguments of each callback.
        self._patience_s = patience_s
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count()
        self._log = log
        self._pid = 0
        self._ended = threading.Event()
        self._talk = nursery.fork(environ, log)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._set_up(lambda: self.at_import, "the import")

    def close(self) -> None:
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._reader.join()
        self._talk.close()

    # -- what it is told to do -------------------------------------------------------------------

    def scheduler(self, master: str, framework: Any = FRAMEWORK, raises_in: Sequence[str] = (), **options: Any) -> int:
        """Makes a scheduler driver and starts it."""
        return self._started("scheduler", master=master, framework=framework, raises_in=raises_in, **options)

    def executor(self, raises_in: Sequence[str] = ()) -> int:
        """The same with an executor driver, in this process' environment."""
        return self._started("executor", raises_in=raises_in)

    def order(self, order: str, **details: Any) -> Any:
        return self._outcome(self._send(order, **details))

    def call(self, method: str, *arguments: Any, driver: int = 0, times: int = 1) -> None:
        """Raises Raised for what the driver's method raises."""
        self._outcome(self._call(method, arguments, driver, times))

    def refusal(self, method: str, *arguments: Any) -> str | None:
        """The name of the exception that the call raises; None when it returns."""
        try:
            self.call(method, *arguments)
        except Raised as error:
            return error.kind
        return None

    def begin(self, method: str, *arguments: Any, driver: int = 0) -> Callable[[], bool]:
        """Makes the call in a thread of its own; what is returned says whether it has come to its end."""
        number = self._call(method, arguments, driver, aside=True)
        return lambda: number in self._outcomes

    def _call(self, method: str, arguments: Sequence[Any], driver: int, times: int = 1, aside: bool = False) -> int:
        return self._send("call", aside, driver=driver, method=method, arguments=arguments, times=times)

    def _started(self, order: str, **options: Any) -> int:
        driver: int = self.order(order, **options)
        self.call("start", driver=driver)
        return driver

    def _send(self, order: str, aside: bool = False, **details: Any) -> int:
        number = next(self._numbers)
        line = json.dumps({"number": number, "order": order, "aside": aside, **details})
        try:
            self._talk.sendall(line.encode() + b"\n")
        except OSError:
            raise self._died() from None
        return number

    def _outcome(self, number: int) -> Any:
        outcome = self._await(lambda: self._outcomes.get(number), "the outcome of a call", _SET_UP_WITHIN_S)
        if "raised" in outcome:
            raise Raised(outcome["raised"], outcome["text"])
        return outcome["returned"]

    # -- what it does ------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The callbacks so far."""
        return [each[0] for each in list(self.told)]

    def arguments(self, name: str) -> list[Any]:
        """The first argument of each such callback."""
        return [each[1] for each in list(self.told) if each[0] == name]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def set_up(self, *names: str) -> None:
        """Waits for these callbacks, in any order, as what the test begins with."""
        self._set_up(lambda: set(names) <= set(self.names()), f"set up, {names}")

    def eventually(self, look: Callable[[], Any], what: str = "it") -> Any:
        """Raises Died, or NotSeen when the patience is over."""
        return self._await(look, what, self._patience_s)

    def survives(self, for_s: float) -> None:
        """Raises Died when the process ends meanwhile."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            if self._ended.is_set():
                raise self._died()
            time.sleep(_POLL_S)

    def _set_up(self, look: Callable[[], Any], what: str) -> Any:
        try:
            return self._await(look, what, _SET_UP_WITHIN_S)
        except (NotSeen, Died) as error:  # Not the defect that the test is about: on plain pymesos, too, it is red.
            raise RuntimeError(f"{error}; its log:\n{self.log}") from error

    def _await(self, look: Callable[[], Any], what: str, within_s: float) -> Any:
        deadline = time.monotonic() + within_s
        while not (seen := look()):
            if self._ended.is_set():
                if seen := look():  # The last that it said.
                    return seen
                raise self._died()
            if time.monotonic() > deadline:
                raise NotSeen(f"{what}: not within {within_s} s; told: {self.names()}")
            time.sleep(_POLL_S)
        return seen

    def _died(self) -> Died:
        return Died(f"its process has ended; its last words: {self.log[-300:]}")

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._talk.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                if "told" in said:
                    self.told.append((said["told"], *said["arguments"]))
                elif "number" in said:
                    self._outcomes[said["number"]] = said
                else:
                    self._pid, self.at_import = said["pid"], said["at_import"]
        self._ended.set()

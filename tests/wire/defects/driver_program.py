"""Processes for drivers, plain pymesos' or ours, each told what to do and telling what happens, in JSON lines.

    python driver_program.py plain|serenity [FOLDER...]        FOLDERs come first on the import path

What a driver does to its process is done to one of these: signal handlers, exceptions in the main thread, SIGKILL for
the whole process group.  They are forked, so that what they import is imported once: each packet on the socket at
stdin starts one, and holds its environment, the file of its log, and the socket to talk to it.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

_say_lock = threading.Lock()
_PAUSE_MS = 10  # The main thread must come by for `_thread.interrupt_main`, which wakes no system call.


def say(**what: Any) -> None:
    line = json.dumps(what, default=lambda each: f"<{type(each).__name__}>").encode() + b"\n"
    with _say_lock:
        while line:
            line = line[os.write(1, line) :]


class Told:
    """Any driver's callbacks: tells of each, and raises in those that it was made to raise in."""

    def __init__(self, raises_in: list[str]) -> None:
        self._raises_in = raises_in

    def __getattr__(self, name: str) -> Callable[..., None]:
        def callback(_driver: Any, *arguments: Any) -> None:
            say(told=name, arguments=arguments)
            if name in self._raises_in:
                raise RuntimeError(f"{name} does not feel like it")

        return callback


class Plain:
    """pymesos as it is used by its README."""

    def __init__(self) -> None:
        import pymesos

        self._pymesos = pymesos

    def scheduler(
        self, told: Told, framework: Any, master: str, answer_within_s: float | None = None, **credentials: str
    ) -> Any:
        """`answer_within_s` is what it has not got."""
        return self._pymesos.MesosSchedulerDriver(told, framework, master, **credentials)

    def executor(self, told: Told) -> Any:
        return self._pymesos.MesosExecutorDriver(told)


class Serenity:
    def __init__(self) -> None:
        from serenity.wire.mesos import executor, scheduler
        from serenity.wire.transport import access, credentials

        self._access, self._credentials = access, credentials
        self._executor, self._scheduler = executor, scheduler
        logging.basicConfig(level=logging.DEBUG)  # pymesos does so by itself, which is one of its defects.

    def scheduler(
        self, told: Told, framework: Any, master: str, answer_within_s: float = 10.0, **credentials: str
    ) -> Any:
        access = self._access.ANONYMOUS
        if credentials:
            access = self._access.Access(authorization=self._credentials.Credential(**credentials).basic)
        return self._scheduler.SchedulerDriver(told, framework, master, access=access, answer_within_s=answer_within_s)

    def executor(self, told: Told) -> Any:
        return self._executor.ExecutorDriver(told, os.environ)


class Orders:
    """What this process can be told to do: a method each."""

    def __init__(self, kind: Plain | Serenity) -> None:
        self._kind = kind
        self._drivers: list[Any] = []
        self._held: list[socket.socket] = []

    def scheduler(self, raises_in: list[str], **options: Any) -> int:
        self._drivers.append(self._kind.scheduler(Told(raises_in), **options))
        return len(self._drivers) - 1

    def executor(self, raises_in: list[str]) -> int:
        self._drivers.append(self._kind.executor(Told(raises_in)))
        return len(self._drivers) - 1

    def call(self, driver: int, method: str, arguments: list[Any], times: int) -> None:
        """`times` over, with the very same objects."""
        for _ in range(times):
            getattr(self._drivers[driver], method)(*arguments)

    def environ(self, name: str) -> str | None:
        return os.environ.get(name)

    def open_files(self, count: int) -> bool:
        """Opens `count` of them; False if this process may not."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + 100
        if hard != resource.RLIM_INFINITY and hard < wanted:
            return False
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        self._held = [socket.socket() for _ in range(count)]
        return True


def obey(orders: Orders, order: dict[str, Any]) -> None:
    number, name = order.pop("number"), order.pop("order")
    try:
        say(number=number, returned=getattr(orders, name)(**order))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
        say(number=number, raised=type(error).__name__, text=str(error))


def serve(orders: Orders) -> None:
    """Until nobody is there to give orders."""
    stdin = select.poll()
    stdin.register(0, select.POLLIN)
    unread = b""
    while True:
        if not stdin.poll(_PAUSE_MS):
            continue
        if not (read := os.read(0, 65536)):
            return
        *lines, unread = (unread + read).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if order.pop("aside"):
                threading.Thread(target=obey, args=(orders, order), daemon=True).start()
            else:
                obey(orders, order)


def become(environ: dict[str, str], log: str, talk: int) -> None:
    """A process of its own, in this fork."""
    os.setsid()
    os.environ.update(environ)
    stderr = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    for mine, standard in ((talk, 0), (talk, 1), (stderr, 2)):
        os.dup2(mine, standard)
    os.close(talk)


def main(kind: str, folders: list[str]) -> None:
    sys.path[:0] = folders
    before = signal.getsignal(signal.SIGINT)
    drivers = {"plain": Plain, "serenity": Serenity}[kind]()
    at_import = {
        "sigint_left": signal.getsignal(signal.SIGINT) is before,
        "handlers": len(logging.getLogger("pymesos").handlers),
        "level": logging.getLogger("pymesos").level,
    }
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for the forks.
    with socket.socket(fileno=0) as control:
        while True:
            packet, talk, _, _ = socket.recv_fds(control, 65536, 1)
            if not packet:
                return
            if os.fork() == 0:
                control.detach()
                break
            os.close(talk[0])
    become(**json.loads(packet), talk=talk[0])
    say(pid=os.getpid(), at_import=at_import)
    serve(Orders(drivers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

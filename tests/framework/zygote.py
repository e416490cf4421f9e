"""A process that has imported the framework, and forks one for each that is asked for, without a second each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.polling import eventually


class Zygote:
    """It runs `forking.py`."""

    def __init__(self) -> None:
        program = str(Path(__file__).with_name("forking.py"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SERENITY_")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "SERENITY_CONFIG": "/dev/null"},
        )

    def ask(self, what: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=10)


class Child:
    """What is used of a Popen, for a process that is not ours to wait for."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self._zygote.ask({"poll": self.pid})
        return self._code

    def wait(self, timeout: float = 30.0) -> int:
        eventually(lambda: self.poll() is not None, "its end", within_s=timeout)
        assert self._code is not None
        return self._code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

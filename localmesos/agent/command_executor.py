"""The command executor: runs the command of one task, as Mesos' ``mesos-executor`` does.

A process of its own, ``python -m serenity.localmesos.agent.command_executor``, started by the agent for
every task that has a command and no executor.  It speaks the v1 executor API and follows
``src/launcher/executor.cpp`` of Mesos in states, messages, kill escalation and exit; checks,
health checks, images and TTYs are not supported.

Three kinds of thread: the main one reads events, one waits for the command, timers escalate.
All state is behind one lock.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, NoReturn

from serenity.localmesos.containers import processes
from serenity.wire.mesos.quantities import parse_mesos_duration_s
from serenity.wire.transport import http, recordio

Json = dict[str, Any]

PATH = "/api/v1/executor"
DEFAULT_KILL_GRACE_S = 3.0  # As in Mesos, for backwards compatibility there.
_RECONNECT_PAUSE_S = 0.5
_SHUTDOWN_MARGIN_S = 2.0  # The agent destroys the container when the whole grace period is over.
_LAST_ACKNOWLEDGEMENT_S = 60.0
_NS_PER_S = 1e9
# The agent sets it so that Python finds this program; no task should inherit it.
_NOT_FOR_THE_TASK = frozenset({"PYTHONPATH"})


def log(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Agent:
    """The agent's executor API."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._endpoint = http.Endpoint.parse(environ["MESOS_AGENT_ENDPOINT"])
        self._ids = {
            "framework_id": {"value": environ["MESOS_FRAMEWORK_ID"]},
            "executor_id": {"value": environ["MESOS_EXECUTOR_ID"]},
        }
        token = environ.get("MESOS_EXECUTOR_AUTHENTICATION_TOKEN")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, type_: str, **body: Any) -> None:
        """Raises http.Unreachable, or http.HttpError for any answer but 202."""
        answer = http.request(self._endpoint, "POST", PATH, {"type": type_, **self._ids, **body}, self._headers)
        if answer.status != 202:
            raise http.HttpError(answer.status, answer.body, type_)

    def subscribe(self, subscribe: Json) -> http.Stream:
        body = {"type": "SUBSCRIBE", **self._ids, "subscribe": subscribe}
        return http.open_stream(self._endpoint, "POST", PATH, body, self._headers)


class CommandExecutor:
    def __init__(self, agent: Agent, environ: Mapping[str, str]) -> None:
        self._agent = agent
        self._environ = dict(environ)
        self._lock = threading.RLock()
        self._framework: Json = {}
        self._task: Json | None = None
        self._command: subprocess.Popen[bytes] | None = None
        self._updates: dict[str, Json] = {}  # Unacknowledged, by uuid.
        self._task_acknowledged = False
        self._killed = self._ended = self._timed_out = self._shutting_down = False
        self._kill_at_s = float("inf")

    # -- the agent ---------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Reads events until the command has ended and all updates are acknowledged, or the agent is lost."""
        recovery_s = 0.0
        if self._environ.get("MESOS_CHECKPOINT") == "1":
            recovery_s = parse_mesos_duration_s(self._environ.get("MESOS_RECOVERY_TIMEOUT", "15mins"))
        seen_s = time.monotonic()
        while True:
            try:
                stream = self._agent.subscribe(self._unacknowledged())
                with contextlib.closing(stream):
                    reader = recordio.RecordReader()
                    for chunk in stream.chunks():
                        for record in reader.feed(chunk):
                            self._event(json.loads(record))
                        seen_s = time.monotonic()
            except (http.Unreachable, http.HttpError, recordio.RecordIOError) as error:
                log(f"agent: {error}")
            if time.monotonic() - seen_s >= recovery_s:
                log("lost the agent; shutting down")
                self._shutdown()
                self._give_up()
            time.sleep(_RECONNECT_PAUSE_S)

    def _unacknowledged(self) -> Json:
        with self._lock:
            tasks = [self._task] if self._task is not None and not self._task_acknowledged else []
            updates = [{"status": status} for status in self._updates.values()]
            return {"unacknowledged_tasks": tasks, "unacknowledged_updates": updates}

    def _event(self, event: Json) -> None:
        kind = event["type"]
        if kind == "SUBSCRIBED":
            self._framework = event["subscribed"]["framework_info"]
        elif kind == "LAUNCH":
            self._launch(event["launch"]["task"])
        elif kind == "KILL":
            override = event["kill"].get("kill_policy")
            self._kill(_grace_s(override) if override else _grace_s((self._task or {}).get("kill_policy")))
        elif kind == "ACKNOWLEDGED":
            self._acknowledged(event["acknowledged"]["uuid"])
        elif kind == "SHUTDOWN":
            log("shutting down")
            self._shutdown()
        elif kind not in ("HEARTBEAT", "MESSAGE"):
            log(f"{kind} is not supported; shutting down")
            self._shutdown()

    def _acknowledged(self, update_uuid: str) -> None:
        with self._lock:
            self._updates.pop(update_uuid, None)
            self._task_acknowledged = True
            if self._ended and not self._updates:
                self._exit(0)

    def _update(self, task_id: Json, state: str, **fields: Any) -> None:
        status = {
            "task_id": task_id,
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "executor_id": {"value": self._environ["MESOS_EXECUTOR_ID"]},
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
            "timestamp": time.time(),
            **fields,
        }
        with self._lock:
            self._updates[status["uuid"]] = status
            try:  # Under the lock, so that updates leave in the order in which they were made.
                self._agent.call("UPDATE", update={"status": status})
            except (http.Unreachable, http.HttpError) as error:
                log(f"update {state}: {error}")  # It is sent again on resubscription.

    # -- the command -------------------------------------------------------------------

    def _launch(self, task: Json) -> None:
        if self._task is not None:
            text = 'Attempted to run multiple tasks using a "command" executor'
            self._update(task["task_id"], "TASK_FAILED", message=text)
            return
        with self._lock:
            self._task = task
            self._update(task["task_id"], "TASK_STARTING")
            log(f"starting task {task['task_id']['value']}")
            try:
                self._command = self._fork(task)
            except OSError as error:
                self._ended = True
                self._update(task["task_id"], "TASK_FAILED", message=f"Failed to execute command: {error}")
                return
            log(f"forked command at {self._command.pid}")
            self._update(task["task_id"], "TASK_RUNNING")
        threading.Thread(target=self._reap, args=(task["task_id"], self._command), daemon=True).start()
        limit_s = _seconds(task.get("max_completion_time"))
        if limit_s is not None and limit_s > 0:
            _after(limit_s, self._time_out)

    def _fork(self, task: Json) -> subprocess.Popen[bytes]:
        command = task["command"]
        environment = {name: value for name, value in self._environ.items() if name not in _NOT_FOR_THE_TASK}
        for variable in command.get("environment", {}).get("variables", []):
            if "value" in variable:
                environment[variable["name"]] = variable["value"]
        for resource in task.get("resources", []):
            if "allocation_info" in resource:
                environment["MESOS_ALLOCATION_ROLE"] = resource["allocation_info"]["role"]
        if "value" not in command:
            raise SystemExit("the command has no value")  # Mesos' command executor aborts.
        if command.get("shell", True):
            argv, program = ["sh", "-c", command["value"]], "/bin/sh"
        else:
            argv, program = command.get("arguments") or [command["value"]], command["value"]
        return subprocess.Popen(argv, executable=program, env=environment, start_new_session=True)

    def _reap(self, task_id: Json, command: subprocess.Popen[bytes]) -> None:
        status = command.wait()
        message = (
            f"Command exited with status {status}"
            if status >= 0
            else f"Command terminated with signal {signal.strsignal(-status)}"
        )
        log(message)
        with self._lock:
            self._ended = True
            if self._timed_out:
                self._update(task_id, "TASK_FAILED", message=message, reason="REASON_MAX_COMPLETION_TIME_REACHED")
            elif self._killed:
                self._update(task_id, "TASK_KILLED", message=message)
            else:
                self._update(task_id, "TASK_FINISHED" if status == 0 else "TASK_FAILED", message=message)
        self._give_up()

    # -- the end -----------------------------------------------------------------------

    def _time_out(self) -> None:
        self._timed_out = True
        self._kill(0.0)

    def _kill(self, grace_s: float) -> None:
        """SIGTERM to the whole tree, SIGKILL after `grace_s`; a second kill may only shorten the time left."""
        with self._lock:
            if self._ended or self._command is None or self._task is None:
                return
            first, self._killed = not self._killed, True
            kill_at_s = time.monotonic() + grace_s
            if kill_at_s >= self._kill_at_s:
                return
            self._kill_at_s = kill_at_s
            _after(grace_s, self._escalate)
            if not first:
                return
            capabilities = {capability.get("type") for capability in self._framework.get("capabilities", [])}
            if "TASK_KILLING_STATE" in capabilities and not self._timed_out:
                self._update(self._task["task_id"], "TASK_KILLING")
            processes.send(signal.SIGTERM, self._tree())

    def _escalate(self) -> None:
        with self._lock:
            if not self._ended and self._command is not None:
                log("sending SIGKILL to the process tree")
                processes.send(signal.SIGKILL, self._tree())

    def _tree(self) -> set[int]:
        assert self._command is not None
        return processes.members(processes.snapshot(), self._command.pid)

    def _shutdown(self) -> None:
        with self._lock:
            self._shutting_down = True
            if self._ended or self._command is None:
                self._exit(0)
            self._kill(max(0.0, self._shutdown_grace_s() - _SHUTDOWN_MARGIN_S))

    def _shutdown_grace_s(self) -> float:
        return parse_mesos_duration_s(self._environ.get("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs"))

    def _give_up(self) -> NoReturn:
        """Waits for the command's end and its acknowledgement, on which the process exits with 0; else exits with 1."""
        time.sleep(_SHUTDOWN_MARGIN_S + self._shutdown_grace_s() if self._shutting_down else _LAST_ACKNOWLEDGEMENT_S)
        log("no acknowledgement of the terminal update from the agent")
        self._exit(1)

    def _exit(self, status: int) -> NoReturn:
        # Other threads sit in blocking reads; what this process holds needs no cleaning up.
        os._exit(status)


def _after(delay_s: float, action: Any) -> None:
    timer = threading.Timer(delay_s, action)
    timer.daemon = True
    timer.start()


def _seconds(duration: Json | None) -> float | None:
    return None if duration is None else int(duration["nanoseconds"]) / _NS_PER_S


def _grace_s(kill_policy: Json | None) -> float:
    grace_s = _seconds((kill_policy or {}).get("grace_period"))
    return DEFAULT_KILL_GRACE_S if grace_s is None else grace_s


def main() -> NoReturn:
    environ = dict(os.environ)
    CommandExecutor(Agent(environ), environ).run()


if __name__ == "__main__":
    main()

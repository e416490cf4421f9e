"""An agent and an estimator that the test makes up: both speak their real protocols, and have nothing behind them."""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import socket
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serenity.qos.frame import Frame
from serenity.wire.messages import from_executor, node
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.statistics import Statistics
from serenity.wire.messages.task_spec import TaskSpec
from serenity.wire.transport import recordio

AGENT_ID = "agent-S0"
FRAMEWORK_ID, EXECUTOR_ID = "framework-0001", "serenity-be"


class FakeAgent:
    """Acknowledges every update, unless `acknowledging` is off.  Everything said to it is in `calls`."""

    def __init__(self, capabilities: tuple[str, ...] = ("TASK_KILLING_STATE",)) -> None:
        self.grace = "2500ms"  # For an executor's shutdown.
        self.acknowledging = True
        self.container_id = str(uuid.uuid4())
        self.launched: set[str] = set()
        self.calls: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._capabilities = capabilities
        agent = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if body["type"] == "SUBSCRIBE":
                    self._stream(body)
                    return
                agent._take(body)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _stream(self, subscribe: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.close_connection = True
                agent._take(subscribe)
                event: dict[str, Any] | None = agent._subscribed()
                while event is not None:
                    self.wfile.write(recordio.encode(json.dumps(event).encode()))
                    event = agent._events.get()

            def log_message(self, *_arguments: Any) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()

    # -- what it says ------------------------------------------------------------------------

    def say(self, event: dict[str, Any]) -> None:
        self._events.put(event)

    def drop_stream(self) -> None:
        self._events.put(None)

    def launch(self, task_id: str, *argv: str, data: bytes | None = None, **spec: Any) -> None:
        made = {"job_id": "j1", "job_name": "job", "instance": 0, "attempt": 1, "cpus": 0.5, "mem_bytes": 1 << 26}
        self.launched.add(task_id)
        encoded = data if data is not None else TaskSpec(argv=argv, **{**made, **spec}).encode()
        task = {
            "name": "job",
            "task_id": {"value": task_id},
            "agent_id": {"value": AGENT_ID},
            "resources": [],
            "data": base64.b64encode(encoded).decode(),
        }
        self.say({"type": "LAUNCH", "launch": {"task": task}})

    def kill(self, task_id: str, grace_s: float | None = None) -> None:
        kill: dict[str, Any] = {"task_id": {"value": task_id}}
        if grace_s is not None:
            kill["kill_policy"] = {"grace_period": {"nanoseconds": int(grace_s * 1e9)}}
        self.say({"type": "KILL", "kill": kill})

    def shutdown(self) -> None:
        self.say({"type": "SHUTDOWN"})

    # -- what it hears -------------------------------------------------------------------------

    def updates(self, task_id: str | None = None) -> list[dict[str, Any]]:
        statuses = [call["update"]["status"] for call in list(self.calls) if call["type"] == "UPDATE"]
        return [each for each in statuses if task_id in (None, each["task_id"]["value"])]

    def corrections(self) -> list[Correction]:
        return [each for each in self._messages() if isinstance(each, Correction)]

    def outcomes(self) -> list[Outcome]:
        return [each for each in self._messages() if isinstance(each, Outcome)]

    def statistics(self) -> list[Statistics]:
        return [each for each in self._messages() if isinstance(each, Statistics)]

    def _messages(self) -> list[from_executor.FromExecutor]:
        sent = [call["message"]["data"] for call in list(self.calls) if call["type"] == "MESSAGE"]
        return [from_executor.decode(each) for each in sent]

    def subscribes(self) -> list[dict[str, Any]]:
        return [call["subscribe"] for call in list(self.calls) if call["type"] == "SUBSCRIBE"]

    def wait_for(self, task_id: str, *states: str, within_s: float = 15.0) -> dict[str, Any]:
        """The task's first update with one of these states."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                found = [each for each in self.updates(task_id) if each["state"] in states]
                if found:
                    return found[0]
                left = deadline - time.monotonic()
                if left <= 0:
                    seen = [(each["state"], each.get("message")) for each in self.updates(task_id)]
                    raise AssertionError(f"{task_id} is not {states} after {within_s} s; it was {seen}")
                self._changed.wait(left)

    def _take(self, call: dict[str, Any]) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        if call["type"] == "UPDATE" and self.acknowledging:
            status = call["update"]["status"]
            self.say({"type": "ACKNOWLEDGED", "acknowledged": {"task_id": status["task_id"], "uuid": status["uuid"]}})

    def _subscribed(self) -> dict[str, Any]:
        info = {
            "executor_info": {"executor_id": {"value": EXECUTOR_ID}},
            "framework_info": {
                "id": {"value": FRAMEWORK_ID},
                "capabilities": [{"type": each} for each in self._capabilities],
                "checkpoint": True,
            },
            "agent_info": {"id": {"value": AGENT_ID}, "hostname": "h7"},
            "container_id": {"value": self.container_id},
        }
        return {"type": "SUBSCRIBED", "subscribed": info}


class FakeEstimator:
    """Says what the test tells it to, and keeps what the executor has said."""

    def __init__(self, directory: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(node.socket_path(AGENT_ID, directory)))
        self._server.listen()
        self._peer: socket.socket | None = None
        self.history: tuple[dict[str, Any], ...] = ()
        self.heard: list[node.ToEstimator] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def tasks(self) -> dict[str, node.TaskOnNode]:
        """What the executor declared last."""
        said = [each for each in list(self.heard) if isinstance(each, node.Tasks)]
        return {each.task_id: each for each in said[-1].tasks} if said else {}

    def send(self, frame: Frame, over: node.Overcommitment = node.Overcommitment()) -> None:  # noqa: B008
        assert self._peer is not None, "no executor has come"
        with contextlib.suppress(OSError):  # It is ending.
            self._peer.sendall(node.encode_line(node.Sample(frame=frame.to_json(), overcommitment=over)))

    def hang_up(self) -> None:
        assert self._peer is not None
        self._peer.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._server.close()
        if self._peer is not None:
            self._peer.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                welcome = node.Welcome(agent_id=AGENT_ID, hostname="h7", interval_s=1.0)
                peer.sendall(node.encode_line(welcome) + node.encode_line(node.History(frames=self.history)))
                self._peer = peer
                lines = node.LineReader()
                while chunk := peer.recv(65536):
                    self.heard += map(node.decode_to_estimator, lines.feed(chunk))

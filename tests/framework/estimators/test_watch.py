"""What a failed estimator has said, among all that stands in its sandbox."""

from __future__ import annotations

import http.server
import json
import threading
from types import SimpleNamespace

import pytest

from serenity.daemon.clock import SystemClock
from serenity.framework.estimators.agent import Agent
from serenity.framework.estimators.rollout import Plan
from serenity.framework.estimators.task import TaskId
from serenity.framework.estimators.watch import Watch, last_complaint
from serenity.wire.mesos.leader import leading_master
from serenity.wire.transport.access import ANONYMOUS
from tests.polling import eventually

_EXECUTOR = "Received LAUNCH event\nStarting task e\nForked command at 7\n{}\nCommand exited with status 4\n"
_LOG = "2026-11-22T13:28:28.529 INFO    serenity.estimator.command: /slack on 127.0.0.1:42625"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (f"{_LOG}\nserenity estimator: role is empty; name it", "role is empty; name it"),
        ("sh: 1: exec: serenity: not found", "sh: 1: exec: serenity: not found"),
        (_LOG, ""),
        ("", ""),
        ("Traceback (most recent call last):\n  File x\nKeyError: 7", "KeyError: 7"),
    ],
)
def test_the_last_complaint_is_the_estimators_own(said, complaint):
    assert last_complaint(_EXECUTOR.format(said)) == complaint


def test_agents_that_answer_oddly_do_not_keep_it_from_looking_on():
    asked, explained = [], []
    agents = [Agent(f"S{number}", f"host-{number}") for number in range(6)]

    class Master(http.server.BaseHTTPRequestHandler):
        """And every agent, with odd states of different kinds."""

        def do_GET(self):
            asked.append(self.path)
            odd = [[], {"frameworks": [{"executors": [{}]}]}, {"frameworks": 7}][len(asked) % 3]
            body = json.dumps({"slaves": []} if self.path == "/slaves" else odd).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Loop:
        """Whose core is at once told, and has a roll-out that knows six failed estimators."""

        def ask(self, question):
            return question(SimpleNamespace(rollout=self, framework_id="F"))

        tell = ask
        plan = Plan()
        busy = True

        def looked(self, seen, asked_at_s):
            pass

        @property
        def unexplained(self):
            return tuple(each for each in agents if each.unexplained)

        def explained(self, agent_id, task, words):
            explained.append((agent_id, words))
            next(each for each in agents if each.id == agent_id).words = words

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Master) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        for each in agents:
            each.url, each.why, each.failed_task = f"http://{address}", "it failed", TaskId("v", 1, each.id)
        watch = Watch(Loop(), lambda: leading_master(address), ANONYMOUS, SystemClock())
        watch.start()
        try:
            eventually(lambda: len(explained) == 6, "all to be explained")
        finally:
            watch.stop()
            server.shutdown()
    assert explained == [(each.id, "") for each in agents]
    assert asked[:8] == ["/slaves", *["/state"] * 4, "/slaves", *["/state"] * 2]

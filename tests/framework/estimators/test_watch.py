"""What a failed estimator has said, among all that stands in its sandbox."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from serenity.daemon.clock import SystemClock
from serenity.framework.estimators import watch
from serenity.framework.estimators.agent import Agent
from serenity.framework.estimators.rollout import Plan
from serenity.framework.estimators.task import TaskId
from serenity.framework.estimators.watch import Watch, last_complaint
from serenity.wire.mesos.leader import leading_master
from serenity.wire.transport.access import ANONYMOUS
from tests.answering import Answering
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


class Cluster:
    """A master and all agents, and the core's loop with a roll-out that knows six failed estimators."""

    plan = Plan()
    busy = True

    def __init__(self, answer):
        self.explanations = []
        self.agents = [Agent(f"S{number}", f"host-{number}") for number in range(6)]
        self._server = Answering(lambda path, _: (200, answer(self, path)))
        self.asked, address = self._server.asked, self._server.address
        for each in self.agents:
            each.url, each.why, each.failed_task = f"http://{address}", "it failed", TaskId("v", 1, each.id)
        self.watch = Watch(self, lambda: leading_master(address), ANONYMOUS, SystemClock())

    def __enter__(self):
        self.watch.start()
        return self

    def __exit__(self, *_):
        self.watch.stop()
        self._server.close()

    # -- the loop, whose core is at once told

    def ask(self, question):
        return question(SimpleNamespace(rollout=self, framework_id="F"))

    tell = ask

    # -- the roll-out

    def looked(self, seen, asked_at_s):
        pass

    @property
    def unexplained(self):
        return tuple(each for each in self.agents if each.unexplained)

    def explained(self, agent_id, task, words):
        self.explanations.append((agent_id, task, words))
        next(each for each in self.agents if each.id == agent_id).words = words


def test_agents_that_answer_oddly_do_not_keep_it_from_looking_on():
    def answer(cluster, path):
        odd = [[], {"frameworks": [{"executors": [{}]}]}, {"frameworks": 7}][len(cluster.asked) % 3]
        return {"slaves": []} if path == "/slaves" else odd

    with Cluster(answer) as cluster:
        tasks = [(each.id, each.failed_task, "") for each in cluster.agents]
        eventually(lambda: len(cluster.explanations) == 6, "all to be explained")
    assert cluster.explanations == tasks
    assert cluster.asked[:8] == ["/slaves", *["/state"] * 4, "/slaves", *["/state"] * 2]


def sandboxes(cluster, path, stderr):
    """As an agent on which all of them have run answers."""
    if path == "/slaves":
        return {"slaves": []}
    if path == "/state":
        executors = [{"id": str(each.failed_task), "container": "c", "directory": "/s"} for each in cluster.agents]
        return {"frameworks": [{"id": "F", "completed_executors": executors}]}
    query = {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}
    assert query["path"] == "/s/stderr"
    if query["offset"] == "-1":
        return {"data": "", "offset": len(stderr)}
    data = stderr[int(query["offset"]) :][: int(query["length"])]
    # Mesos puts the bytes into its JSON as they are.
    return b'{"offset": %s, "data": "%s"}' % (query["offset"].encode(), data.replace(b"\n", b"\\n"))


def test_what_is_no_utf_8_is_no_reason_to_say_nothing():
    stderr = b"x" * 5000 + b"\nserenity estimator: Ger\xe4t fehlt\n"
    with Cluster(lambda cluster, path: sandboxes(cluster, path, stderr)) as cluster:
        eventually(lambda: len(cluster.explanations) == 6, "all to be explained")
    assert {words for _, _, words in cluster.explanations} == {"Ger\N{REPLACEMENT CHARACTER}t fehlt"}


def test_words_are_those_of_the_task_that_was_asked_about():
    """And not of one that fails while its agent is asked."""

    def answer(cluster, path):
        said = sandboxes(cluster, path, b"serenity estimator: the first\n")
        if path == "/state":
            for each in cluster.agents:
                each.failed_task = TaskId("v", 2, each.id)
        return said

    with Cluster(answer) as cluster:
        firsts = {each.id: each.failed_task for each in cluster.agents}
        eventually(lambda: cluster.explanations, "an explanation")
    agent_id, task, words = cluster.explanations[0]
    assert (task, words) == (firsts[agent_id], "the first")


def test_a_bug_is_said_once_and_it_looks_on_rarely(monkeypatch, caplog):
    monkeypatch.setattr(watch, "_LONGEST_PAUSE_S", 0.01)
    looks = []

    def looked(seen, asked_at_s):
        looks.append(seen)
        raise ZeroDivisionError

    with Cluster(lambda cluster, path: {"slaves": []}) as cluster:
        cluster.looked = looked
        eventually(lambda: len(looks) > 4, "more looks")
    assert caplog.text.count("this is a bug in Serenity") == 1

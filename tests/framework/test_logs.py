"""Reading outputs that their executor cuts, through an agent's /files."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from serenity.framework.jobs.job import Attempt, Place
from serenity.framework.mesos import logs
from serenity.wire.messages.api import AttemptState
from serenity.wire.transport.access import ANONYMOUS
from serenity.wire.transport.http import HttpError
from tests.answering import Answering


class Agent:
    """Serves one sandbox as an agent does.  `before_reading` is called once, before the next read."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.before_reading = lambda: None

    def answer(self, path, _):
        split = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        answer = getattr(self, split.path.rpartition("/")[2])(**query)
        return (404, b"") if answer is None else (200, answer)

    def state(self):
        executor = {"id": "e1", "container": "c1", "directory": "/sandbox"}
        return {"frameworks": [{"id": "F1", "executors": [executor]}]}

    def browse(self, path):
        folder = self._file(path)
        if not folder.is_dir():
            return None
        return [{"path": f"{path}/{each.name}", "size": each.stat().st_size} for each in sorted(folder.iterdir())]

    def read(self, path, offset, length):
        change, self.before_reading = self.before_reading, lambda: None
        change()
        data = self._file(path).read_bytes()[int(offset) :][: int(length)]
        # Mesos puts the bytes into its JSON as they are.
        text = json.dumps({"data": data.decode("utf-8", "surrogateescape")}, ensure_ascii=False)
        return text.encode("utf-8", "surrogateescape")

    def _file(self, path):
        return self.sandbox / path.removeprefix("/sandbox/")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "tasks" / "j.0.1"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def agent(tmp_path):
    made = Agent(tmp_path)
    with Answering(made.answer) as server:
        made.address = server.address
        yield made


@pytest.fixture
def attempt(agent):
    place = Place("S0", "h7", f"http://{agent.address}", "e1")
    state = AttemptState.RUNNING
    return Attempt("j", 0, 1, 0.0, 0.0, state=state, place=place, container_id="c1", running_at=1.0)


def read(attempt, offset):
    return logs.read(attempt, "F1", "stdout", offset, ANONYMOUS)


def tail(attempt, lines):
    return logs.tail(attempt, "F1", "stdout", lines, ANONYMOUS)


def cut(folder, whole, begin, middle):
    """As the executor leaves an output of which only what is from `begin` on is kept."""
    for each in folder.iterdir():
        each.unlink()
    (folder / f"stdout.{begin}").write_bytes(whole[begin:middle])
    (folder / "stdout").write_bytes(whole[middle:])


WHOLE = "".join(f"line {each} ä\n" for each in range(20_000)).encode()


def followed(attempt, offset):
    text = ""
    while True:
        log = read(attempt, offset)
        if log.next_offset == offset:
            return text
        text, offset = text + log.text, log.next_offset


@pytest.mark.parametrize("middle", [150_000, 150_001, 150_002, 150_003])
def test_a_cut_output_is_read_as_if_it_were_one(agent, attempt, folder, middle):
    """Also where a character has been cut in two."""
    cut(folder, WHOLE, 100_000, middle)
    assert followed(attempt, 120_000) == WHOLE[120_000:].decode("utf-8", "replace")
    assert tail(attempt, 10_000).text == b"".join(WHOLE.splitlines(keepends=True)[-10_000:]).decode()
    assert tail(attempt, 3).next_offset == len(WHOLE)


def test_who_asks_for_what_is_gone_gets_the_first_that_is_not(agent, attempt, folder):
    cut(folder, WHOLE, 100_000, 150_000)
    assert followed(attempt, 0) == WHOLE[100_000:].decode("utf-8", "replace")


def test_an_output_cut_while_it_is_read_is_read_again(agent, attempt, folder):
    (folder / "stdout").write_bytes(WHOLE)
    agent.before_reading = lambda: cut(folder, WHOLE, 100_000, 150_000)
    log = read(attempt, 120_000)
    assert log.text == WHOLE[120_000 : log.next_offset].decode("utf-8", "replace")
    agent.before_reading = lambda: cut(folder, WHOLE, 150_000, 200_000)
    assert tail(attempt, 5).text == b"".join(WHOLE.splitlines(keepends=True)[-5:]).decode()


def test_what_was_never_cut(agent, attempt, folder):
    (folder / "stdout").write_bytes(b"a\nb\n")
    (folder / "stdout.old").write_bytes(b"the task's own")
    assert (read(attempt, 0).text, read(attempt, 2).text, tail(attempt, 1).text) == ("a\nb\n", "b\n", "b\n")
    assert read(attempt, 4).next_offset == 4


def test_no_output(agent, attempt, folder):
    with pytest.raises(logs.NoLog, match="has written nothing yet"):
        read(attempt, 0)
    folder.rmdir()
    with pytest.raises(logs.NoLog, match="has written nothing yet"):
        tail(attempt, 1)


@pytest.mark.parametrize(
    "state", [[], {"frameworks": 7}, {"frameworks": [{}]}, {"frameworks": [{"id": "F1", "executors": [{}]}]}]
)
def test_an_agent_whose_state_is_nonsense_is_no_bug_of_ours(agent, attempt, state):
    agent.state = lambda: state
    with pytest.raises(HttpError, match="does not answer as Mesos does"):
        read(attempt, 0)


@pytest.mark.parametrize("answer", [b"[" * 100_000, b"<html>", b"[]", b'{"data": 7}'])
def test_an_agent_that_answers_nonsense_is_no_bug_of_ours(agent, attempt, folder, answer):
    (folder / "stdout").write_text("a\n")
    agent.read = lambda **_: answer
    with pytest.raises(HttpError, match="does not answer as Mesos does"):
        read(attempt, 0)

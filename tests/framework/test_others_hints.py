"""Hints of another framework: asked for again and again, with the token that is in the file just then."""

from __future__ import annotations

import queue

import msgspec
import pytest

from serenity.framework import others_hints
from serenity.framework.cluster.hint_source import HintSource
from serenity.framework.others_hints import OthersHints, hints_of
from serenity.framework.settings import FrameworkSettings
from serenity.wire.messages.hints import Hint, Hints
from serenity.wire.transport.access import ANONYMOUS
from serenity.wire.transport.http import HttpError
from serenity.wire.transport.trust_files import UnusableFile
from tests.answering import Answering

HINT = Hint(
    agent="S0",
    hostname="h0",
    kind="io",
    protected="web.1",
    suspect="spark-1",
    severity=0.4,
    since=1.0,
    last_at=2.0,
    text="",
)
WAIT_S = 20.0


class Other:
    """A framework that answers what it is told to; notes what it was shown."""

    def __init__(self):
        self.answers: list[tuple[int, bytes]] = []
        self.seen: queue.Queue[tuple[str, str | None]] = queue.Queue()

    def answer(self, path, headers):
        self.seen.put((path, headers["Authorization"]))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def other():
    made = Other()
    with Answering(made.answer) as server:
        made.url = f"http://{server.address}"
        yield made


def body(*hints):
    return msgspec.json.encode(Hints(hints=hints))


def test_what_holds_there_is_heard_until_it_is_over(other, monkeypatch, caplog):
    monkeypatch.setattr(others_hints, "_EVERY_S", 0.01)
    other.answers = [(200, body(HINT)), (503, b"{}"), (503, b"{}"), (200, b"<html>"), (200, body())]
    heard: queue.Queue[tuple[str, list[Hint]]] = queue.Queue()
    asking = OthersHints(HintSource.parse_all(other.url), ANONYMOUS, lambda *said: heard.put(said))
    with caplog.at_level("INFO"):
        asking.start()
        try:
            assert heard.get(timeout=WAIT_S) == (other.url, (HINT,))
            assert heard.get(timeout=WAIT_S) == (other.url, ())
        finally:
            asking.stop()
    said = [each.getMessage() for each in caplog.records if each.name == others_hints.__name__]
    assert ["HTTP 503" in each or "like a Serenity" in each or "again" in each for each in said] == [True] * 3, said


@pytest.mark.parametrize(
    "nonsense",
    [body(HINT).replace(b"spark-1", b"spark-\xff"), b'{"hints":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
    ids=["no UTF-8", "deep"],
)
def test_what_answers_nonsense_is_asked_again(other, monkeypatch, caplog, nonsense):
    monkeypatch.setattr(others_hints, "_EVERY_S", 0.01)
    other.answers = [(200, nonsense), (200, nonsense), (200, body(HINT))]
    heard: queue.Queue[tuple[str, list[Hint]]] = queue.Queue()
    asking = OthersHints(HintSource.parse_all(other.url), ANONYMOUS, lambda *said: heard.put(said))
    asking.start()
    try:
        assert heard.get(timeout=WAIT_S) == (other.url, (HINT,))
    finally:
        asking.stop()
    assert "does not answer like a Serenity framework" in caplog.text


def test_the_token_is_the_one_in_the_file_just_then(other, tmp_path):
    file = tmp_path / "token"
    other.answers = [(200, body())]
    (source,) = HintSource.parse_all(f"{other.url} {file}")
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        file.chmod(0o600)
        hints_of(source, ANONYMOUS)
        assert other.seen.get(timeout=WAIT_S) == ("/v1/hints", f"Bearer {token}")
    file.write_text("two\nlines")
    with pytest.raises(UnusableFile, match="holds no token"):
        hints_of(source, ANONYMOUS)
    assert other.seen.empty()


def test_who_refuses_is_said(other):
    other.answers = [(401, b'{"error": "no token"}')]
    with pytest.raises(HttpError, match="HTTP 401"):
        hints_of(HintSource(other.url), ANONYMOUS)


def test_several_are_named_with_their_tokens():
    text = " unix:/run/a.sock, https://b:8640 /etc/b.token,,http://localhost:1"
    assert FrameworkSettings(hints_from=text).hint_sources == (
        HintSource("unix:/run/a.sock"),
        HintSource("https://b:8640", "/etc/b.token"),
        HintSource("http://localhost:1"),
    )
    assert FrameworkSettings().hint_sources == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("http://other:8640", "hints_from: http://other:8640 has no TLS"),
        ("https://other:8640 a b", "hints_from: 'https://other:8640 a b' is more than"),
        ("unix:relative", "hints_from: 'unix:relative' is no address"),
    ],
)
def test_what_makes_no_sense_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        FrameworkSettings(hints_from=text)

"""Numbers in what services answer: memcached, Prometheus, JSON, HTTP."""

from __future__ import annotations

import signal
import time

import pytest

from serenity.qos.sources import http_answer, json_document, memcached, prometheus
from serenity.qos.sources.draft import Faults
from serenity.qos.sources.exchange import MAX_ANSWER_BYTES
from serenity.qos.sources.prometheus import Selector


def test_memcached_statistics():
    answer = b"STAT version 1.6.9 (a b)\r\nSTAT cmd_get 40\r\nSTAT cmd_set 2\r\nEND\r\n"
    assert memcached.complete(bytearray(answer))
    assert not memcached.complete(bytearray(answer[:-1]))
    assert memcached.value(answer, "cmd_get+cmd_set") == 42.0
    with pytest.raises(ValueError, match="no_such"):
        memcached.value(answer, "no_such")
    with pytest.raises(ValueError, match="did not answer"):
        memcached.value(b"ERROR\r\n", "cmd_get")


EXPOSITION = """\
# HELP up help
up 1
up_total{path="/a"} 3 1700000000000
up_total{path="/a",code="200"} 4.5
up_total{path="/b}",note="q\\"\\n"} 8
bad NaN
latency_bucket{le="0.1",path="/a"} 90
latency_bucket{le="0.2",path="/a"} 98
latency_bucket{le="+Inf",path="/a"} 100
latency_count{path="/a"} 100
"""


def test_series_by_name_and_labels():
    def value(selector):
        return prometheus.value(EXPOSITION, Selector.parse(selector))

    assert value("up") == 1.0  # And not up_total.
    assert value("up_total") == 15.5
    assert value('up_total{path="/a"}') == 7.5
    assert value('up_total{ path="/a", code="200" }') == 4.5
    assert value('up_total{path="/b}"}') == 8.0
    for none in ("down", 'up_total{path="/c"}'):
        with pytest.raises(ValueError, match="no series"):
            value(none)


def test_an_exemplar_behind_a_number_is_not_the_number():
    text = 'a_total{a="1"} 17 # {trace_id="x"} 0.67\nb_bucket{le="1"} 3 # {} 0.5\nb_bucket{le="+Inf"} 4\n'
    assert prometheus.value(text, Selector.parse("a_total")) == 17.0
    assert prometheus.buckets(text, Selector.parse("b")) == {1.0: 3.0, float("inf"): 4.0}


def test_what_may_have_been_cut_short_is_not_taken():
    with pytest.raises(ValueError, match="cut short"):
        prometheus.value("up 12", Selector.parse("up"))


def test_a_quantile_between_two_readings_by_hand():
    now = prometheus.buckets(EXPOSITION, Selector.parse('latency{path="/a"}'))
    assert now == {0.1: 90.0, 0.2: 98.0, float("inf"): 100.0}
    before = {0.1: 80.0, 0.2: 80.0, float("inf"): 80.0}
    # 10 below 0.1, 8 up to 0.2, 2 above: the median is the 10th; the 14th lies in the middle of the 8.
    assert prometheus.quantile(before, now, 0.5) == pytest.approx(0.1)
    assert prometheus.quantile(before, now, 0.7) == pytest.approx(0.15)
    assert prometheus.quantile(before, now, 0.99) == 0.2  # All that is known: above it.
    assert prometheus.quantile(now, now, 0.5) is None  # Nothing happened.
    assert prometheus.quantile(now, before, 0.5) is None  # It was started again.
    with pytest.raises(ValueError, match="no histogram"):
        prometheus.buckets(EXPOSITION, Selector.parse("up"))


def test_numbers_in_a_document():
    document = b'{"pools": [{"busy": 3}, {"busy": 4.5}], "ok": true, "text": "1", "big": 1e300}'
    assert json_document.value(document, "pools.1.busy") == 4.5
    assert json_document.value(document, "pools.0.busy+pools.1.busy") == 7.5
    for path in ("pools.2.busy", "pools.x", "pools", "ok", "text", "none", "pools.-1.busy", "pools.²"):
        with pytest.raises(ValueError, match="its answer"):
            json_document.value(document, path)


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[" * 200_000, b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e400}', b'{"a": ' + b"9" * 5000 + b"}",
     b'{"a": [1]}', b"\xff\xfe", b'{"a": "1"}', b"null"],
)  # fmt: skip
def test_documents_that_are_none_or_have_no_number(document):
    with pytest.raises(ValueError, match="its answer"):
        json_document.value(document, "a")


def chunked(*pieces):
    body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n" + body + b"0\r\n\r\n"


def test_http_bodies():
    assert http_answer.body(b"HTTP/1.0 200 OK\r\n\r\nabc") == b"abc"
    assert http_answer.body(b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 3\r\n\r\nabc") == b"abc"
    assert http_answer.body(chunked(b"ab", b"c" * 300)) == b"ab" + b"c" * 300
    assert http_answer.complete(bytearray(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"))
    assert not http_answer.complete(bytearray(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"))
    assert http_answer.complete(bytearray(chunked(b"ab")))
    assert not http_answer.complete(bytearray(chunked(b"up 10\r\n")[: -len(b"0\r\n\r\n")])), "a line's end, not all's"
    many = chunked(*[b"x"] * 100_000)
    began_s = time.monotonic()
    assert len(http_answer.body(many)) == 100_000
    assert time.monotonic() - began_s < 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -9\r\n\r\nabc", "Content-Length"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:5051/\r\n\r\n", "redirects are not followed"),
        (b"HTTP/1.1 500 No\r\n\r\n", "HTTP 500"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", "transfer encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", "content encoding b'gzip'"),
        (chunked(b"abc")[:-8], "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\nx", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n", "cut short"),
    ],
)
def test_answers_that_are_not_taken(answer, says):
    with pytest.raises(ValueError, match=says):
        http_answer.body(answer)


def filled(unit):
    return unit * (MAX_ANSWER_BYTES // len(unit))


@pytest.fixture
def at_most_ten_seconds():
    """Of CPU time.  What is linear needs less than one; regular expressions look at signals while they search."""

    def hangs(*_):
        raise AssertionError("ten seconds on one answer")

    before = signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, 10.0)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
    signal.signal(signal.SIGVTALRM, before)


HOSTILE = {
    "a name": filled("a"),
    "names": filled("a "),
    "names without values": filled("a="),
    "a number": "1" + filled("9"),
    "digits in groups": filled("1_"),
    "a small number": "0." + filled("0"),
    "brackets": filled("["),
    "documents": filled('{"a":'),
    "labels": filled('a="",'),
    "labels that never end": filled('a="\\"'),
    "escapes": '"' + filled("\\"),
    "lines": filled("\n"),
    "line ends": filled("\r\n"),
    "spaces": filled(" "),
    "statistics": filled("STAT a 1\r\n"),
    "chunks": filled("1\r\nx\r\n"),
}


@pytest.mark.usefixtures("at_most_ten_seconds")
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_answer_takes_longer_than_it_is_long(text, caplog):
    """A mebibyte that takes the square of its length would be an hour."""
    labelled = "".join(f'{name}{{le="1",{text}}} 1\n' for name in ("m", "m_bucket"))
    bare = text.encode()
    readers = {
        "series": lambda: prometheus.value(labelled, Selector.parse("m")),
        "value": lambda: prometheus.value("m " + text, Selector.parse("m")),
        "buckets": lambda: prometheus.buckets(labelled, Selector.parse("m")),
        "bound": lambda: prometheus.buckets(f'm_bucket{{le="{text}"}} 1', Selector.parse("m")),
        "document": lambda: json_document.value(bare, "a"),
        "number": lambda: json_document.value(b'{"a": ' + bare + b"}", "a"),
        "statistics": lambda: memcached.value(bare + b"\r\nEND\r\n", "a"),
        "statistic": lambda: memcached.value(b"STAT a " + bare + b"\r\nEND\r\n", "a"),
        "head": lambda: http_answer.complete(bytearray(bare)),
        "body": lambda: http_answer.body(bare),
        "chunks": lambda: http_answer.body(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + bare),
    }
    faults = Faults()
    for name, read in readers.items():
        try:
            read()
        except ValueError as error:
            faults.count("sli", name, error)
    assert all(len(each.getMessage()) < 1000 for each in caplog.records), "nor fills the log"

"""Numbers in what services answer: memcached, Prometheus, JSON, HTTP."""

from __future__ import annotations

import time

import pytest

from serenity.qos.sources import http_answer, json_document, memcached, prometheus
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
        (chunked(b"abc")[:-8], "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\nx", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n", "cut short"),
    ],
)
def test_answers_that_are_not_taken(answer, says):
    with pytest.raises(ValueError, match=says):
        http_answer.body(answer)

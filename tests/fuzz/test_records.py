"""RecordIO, cut anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.transport.recordio import MAX_RECORD_BYTES, RecordIOError, RecordReader, encode
from tests.fuzz.examples import examples


def pieces(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted(cut % (len(stream) + 1) for cut in cuts)
    return (stream[start:end] for start, end in itertools.pairwise([0, *places, len(stream)]))


@examples(150)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.just(b"7\n"), st.binary(min_size=900, max_size=1100)), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=30),
    st.integers(0, 10_000),
)
def test_a_stream_gives_the_records_that_are_whole_however_it_comes_and_wherever_it_ends(
    records: list[bytes], cuts: list[int], end: int
) -> None:
    stream = b"".join(map(encode, records))
    end %= len(stream) + 1
    reader = RecordReader()
    found = [record for piece in pieces(stream[:end], cuts) for record in reader.feed(piece)]
    ends = list(itertools.accumulate(len(encode(record)) for record in records))
    assert found == records[: sum(at <= end for at in ends)]


@examples(150)
@given(st.lists(st.binary(max_size=20), max_size=4), st.binary(min_size=1, max_size=30), st.lists(st.integers(0, 200)))
def test_what_is_no_recordio_is_refused_and_nothing_before_it_is_lost(
    records: list[bytes], garbage: bytes, cuts: list[int]
) -> None:
    reader = RecordReader()
    found: list[bytes] = []
    refused = False
    try:
        for piece in pieces(b"".join(map(encode, records)) + garbage, cuts):
            found.extend(reader.feed(piece))
    except RecordIOError:
        refused = True
    assert refused == is_to_be_refused(garbage)
    assert found[: len(records)] == records


def is_to_be_refused(stream: bytes) -> bool:
    """Whether it cannot be the beginning of any RecordIO, or only of one beyond all bounds."""
    while stream:
        line, end, rest = stream.partition(b"\n")
        if len(line) > 20 or (end and not line.isdigit()) or (end and int(line) > MAX_RECORD_BYTES):
            return True
        if not end or len(rest) < int(line):
            return False
        stream = rest[int(line) :]
    return False


def test_garbage_may_begin_with_a_record() -> None:
    """As a fuzzer found, to whom only the first line counted."""
    garbage = b"0\n" + bytes(21)
    assert is_to_be_refused(garbage) and not is_to_be_refused(garbage[:22])
    reader = RecordReader()
    assert next(reader.feed(garbage)) == b""
    with pytest.raises(RecordIOError):
        list(reader.feed(b""))

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.transport.recordio import MAX_RECORD_BYTES, RecordIOError, RecordReader, encode


@given(st.lists(st.binary(max_size=200), max_size=20), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_chunk_boundaries_mean_nothing(records: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(encode(record) for record in records)
    reader, found, at, turn = RecordReader(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == records


def test_a_record_that_is_cut_off_is_not_given() -> None:
    assert list(RecordReader().feed(b"5\nab")) == []


@pytest.mark.parametrize(
    "stream",
    [b"-1\nx", b"x\n", b"\n", b" 5\nabcde", b"5.0\n", b"9" * 30, b"%d\n" % (MAX_RECORD_BYTES + 1), "٣\nabc".encode()],
)
def test_what_is_no_length_is_refused(stream: bytes) -> None:
    with pytest.raises(RecordIOError):
        list(RecordReader().feed(stream))

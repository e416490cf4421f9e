from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import gevent
import pytest

from serenity.estimator.kept.state_writer import StateWriter


class Hanging:
    """A disk that hangs until it is let go on."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.written: list[str] = []
        self.told: list[tuple[str, OSError | None]] = []

    def write(self, what: str) -> Callable[[], None]:
        def do() -> None:
            assert self.goes_on.wait(60.0)
            self.written.append(what)

        return do

    def wrote(self, what: str) -> Callable[[OSError | None], None]:
        return lambda error: self.told.append((what, error))


@pytest.fixture
def disk() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.goes_on.set()


def test_the_latest_wins_and_nobody_waits_for_a_disk_that_hangs(disk: Hanging) -> None:
    writer = StateWriter()
    for name, what in (("a", "a1"), ("b", "b1")):
        writer.put(name, disk.write(what), disk.wrote(what))
    assert not writer.settle(0.05)  # The first is being written.
    for name, what in (("c", "c1"), ("a", "a2"), ("b", "b2"), ("a", "a3")):
        writer.put(name, disk.write(what), disk.wrote(what))
    waiting = gevent.spawn(writer.run, lambda: len(disk.written))
    ticks = 0
    for _ in range(5):
        gevent.sleep(0.01)
        ticks += 1
    assert (ticks, disk.written, disk.told, waiting.ready()) == (5, [], [], False)
    disk.goes_on.set()
    assert writer.settle(60.0)
    assert disk.written == ["a1", "b2", "c1", "a3"]
    assert disk.told == [(each, None) for each in disk.written]
    assert waiting.get(timeout=60.0) in range(5)
    writer.close()


def test_an_error_is_told_and_the_next_is_written_all_the_same(disk: Hanging) -> None:
    writer, full = StateWriter(), OSError(28, "No space left on device")

    def fail() -> None:
        raise full

    disk.goes_on.set()
    writer.put("a", fail, disk.wrote("a"))
    writer.put("b", disk.write("b"), disk.wrote("b"))
    assert writer.settle(60.0)
    assert disk.told == [("a", full), ("b", None)]
    with pytest.raises(OSError, match="No space left"):
        writer.run(fail)
    assert writer.run(time.monotonic) > 0
    writer.close()

"""What the estimator still knows after a restart: who holds the valve, and the node's past."""

from __future__ import annotations

import errno
import logging
import zlib
from pathlib import Path

import pytest

from serenity.estimator import metrics
from serenity.estimator.account.balance import Balance
from serenity.estimator.account.report import Report
from serenity.estimator.kept.frames import KeptFrames
from serenity.estimator.kept.leases import KeptLeases
from serenity.estimator.kept.packed_frame import PackedFrame, pack
from serenity.estimator.slack.pipeline import ReportParameters
from tests.estimator.state_writers import Awaited
from tests.manual_clock import ManualClock

# --- leases ---

HOW = ("held", "prolonged", "ran_out", "released")


class Life:
    """One process's: a clock whose monotonic part starts anew, and the account over the same file."""

    def __init__(self, folder: Path, now_s: float = 1e9) -> None:
        self.clock = ManualClock(now_s)
        self.metrics = metrics.table()
        self.told: list[Report] = []
        kept = KeptLeases(folder / "a.leases", self.clock, Awaited())
        self.balance = Balance(ReportParameters(), self.clock, self.metrics, self.told.append, kept.load(), kept.keep)

    @property
    def holders(self) -> dict[str, float]:
        return {each.holder: each.ends_in_s for each in self.balance.leases}


def test_an_operators_lease_outlasts_a_restart_and_still_runs_out(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.balance.hold("operator ann", "disk", 600.0)
    first.balance.hold("operator bob", "kernel", 60.0)
    first.balance.hold("executor", "contention", 10.0)
    assert first.balance.release("operator bob") and not first.balance.release("operator bob")
    second = Life(tmp_path, now_s=1e9 + 200.0)
    assert second.holders == {"operator ann": 400.0} and second.balance.valve_closed
    assert second.metrics.value(metrics.LEASES) == 1 == second.metrics.value(metrics.VALVE_CLOSED)
    second.balance.release("operator ann")
    assert Life(tmp_path, now_s=1e9 + 201.0).holders == {}
    assert Life(tmp_path, now_s=1e9 + 900.0).holders == {}


def test_one_that_is_prolonged_is_kept_so(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.balance.hold("operator", "", 60.0)
    life.balance.hold("operator", "", 600.0)
    assert Life(tmp_path, now_s=1e9 + 100.0).holders == {"operator": 500.0}
    assert life.metrics.value(metrics.LEASE_CHANGES, how="held") == 1


def test_an_executors_lease_outlasts_a_short_restart_and_is_not_written_every_second(tmp_path: Path) -> None:
    """Else the slack would be offered, all of it, while production suffers."""
    life = Life(tmp_path)
    written = set()
    for _ in range(30):
        life.balance.hold("executor", "contention", 10.0)
        written.add((tmp_path / "a.leases").read_bytes())
        life.clock.advance(1.0)
    assert 5 <= len(written) <= 15
    left_s = Life(tmp_path, now_s=life.clock.now_s() + 1.5).holders["executor"]
    assert 5.0 <= left_s <= 8.5


def test_a_clock_that_was_set_back_makes_no_lease_longer_than_any_may_be(tmp_path: Path) -> None:
    Life(tmp_path).balance.hold("operator", "", 600.0)
    assert Life(tmp_path, now_s=0.0).holders == {"operator": 86400.0}


@pytest.mark.parametrize("content", [b"", b"{", b'[["a"]]', b"\xff", b'[{"holder":"\xff"}]'])
def test_a_file_of_leases_that_makes_no_sense_is_said_and_none_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "a.leases").write_bytes(content)
    life = Life(tmp_path)
    assert life.holders == {} and "a.leases cannot be read" in caplog.text
    life.balance.hold("operator", "", 600.0)
    assert Life(tmp_path).holders == {"operator": 600.0}


def test_every_change_is_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    life = Life(tmp_path)
    life.balance.hold("a", "one", 5.0)
    life.balance.hold("b", "two", 60.0)
    life.balance.hold("a", "one", 5.0)  # As every second.
    life.balance.hold("b", "two", 60.0)
    life.balance.hold("a", "other", 5.0)
    life.clock.advance(6.0)
    life.balance.estimated(life.balance.slack, None, life.balance.held)
    life.balance.release("b")
    changes = {how: life.metrics.value(metrics.LEASE_CHANGES, how=how) for how in HOW}
    assert changes == {"held": 2, "prolonged": 2, "ran_out": 1, "released": 1}
    assert [life.metrics.value(metrics.VALVE_CHANGES, to=to) for to in ("closed", "open")] == [1, 1]
    said = [each.message for each in caplog.records]
    assert said == [
        "valve closed: a holds it for 5 s (one)",
        "valve closed: b holds it for 60 s (two)",
        "valve closed: b holds it for 60 s from now on (two)",
        "valve closed: a holds it for 5 s from now on (other)",
        "valve closed: the lease of a ran out (other)",
        "valve open: b released it",
    ]


# --- frames ---


def lines(*times: float) -> list[bytes]:
    return [b'{"t":%.1f,"rest":"%s"}' % (t, b"x" * 100) for t in times]


def frames(*times: float) -> list[PackedFrame]:
    return list(map(pack, lines(*times)))


def kept(folder: Path, *times: float, now_s: float) -> list[PackedFrame]:
    """What a process that keeps these finds when it starts again."""
    life = KeptFrames(folder, Awaited())
    for each in frames(*times):
        life.add(each)
    life.write()
    return list(KeptFrames(folder, Awaited()).load(now_s))


def test_frames_come_back_in_order_those_of_several_lives_too(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    assert kept(folder, now_s=0.0) == []
    assert kept(folder, *range(70), now_s=100.0) == frames(*range(70))
    assert kept(folder, 70, 71, now_s=100.0) == frames(*range(72))


def test_a_process_that_is_killed_loses_what_it_had_not_written(tmp_path: Path) -> None:
    life = KeptFrames(tmp_path, Awaited())
    for each in frames(*range(45)):
        life.add(each)
    assert list(KeptFrames(tmp_path, Awaited()).load(100.0)) == frames(*range(40))


def test_the_disk_holds_the_last_minutes_and_no_more(tmp_path: Path) -> None:
    life = KeptFrames(tmp_path, Awaited())
    for number in range(1000):
        life.add(frames(number)[0])
    found = list(KeptFrames(tmp_path, Awaited()).load(1000.0))
    assert len(list(tmp_path.iterdir())) == 30 and found == frames(*range(700, 1000))


def test_what_is_old_or_from_a_clock_that_was_set_back_is_left_out(tmp_path: Path) -> None:
    assert kept(tmp_path, 1.0, 5000.0, 5999.0, 7000.0, now_s=6000.0) == frames(5999.0)


def test_the_files_of_the_release_before_are_read(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number:010d}.z").write_bytes(zlib.compress(b"\n".join(lines(2 * number, 2 * number + 1)), 1))
    assert kept(tmp_path, 4.0, now_s=100.0) == frames(*range(5))


def test_a_file_that_is_broken_costs_its_own_frames_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept(tmp_path, *range(20), now_s=100.0)
    first, second = sorted(tmp_path.iterdir())
    first.write_bytes(second.read_bytes()[:50])
    assert list(KeptFrames(tmp_path, Awaited()).load(100.0)) == frames(*range(10, 20))
    assert first.name in caplog.text and not first.exists()


def test_what_is_no_file_is_left_where_it_is_and_costs_nothing(tmp_path: Path) -> None:
    """Neither the start, nor a number of ours, nor the oldest files' end."""
    (tmp_path / "0000000001.z").mkdir()
    assert kept(tmp_path, *range(400), now_s=500.0) == frames(*range(100, 400))
    assert (tmp_path / "0000000001.z").is_dir() and len(list(tmp_path.iterdir())) == 31


def test_a_broken_file_that_cannot_be_removed_costs_its_own_frames_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path, *range(20), now_s=100.0)
    min(tmp_path.iterdir()).write_bytes(b"broken")

    def refused(*_: object, **__: object) -> None:  # As on a file system that is read-only; root may do all else.
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refused)
    assert list(KeptFrames(tmp_path, Awaited()).load(100.0)) == frames(*range(10, 20))
    assert caplog.text.count("cannot be read") == 1


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    life = KeptFrames(tmp_path / "file" / "frames", Awaited())
    for each in frames(*range(90)):
        life.add(each)
    assert caplog.text.count("the node's past is not kept") == 1

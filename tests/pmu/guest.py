"""Runs in the guest: the real source on a real (emulated) PMU.  `run.py` reads what it prints.

The Arm PMU that QEMU emulates counts cycles and instructions truly; with ``-icount shift=1`` an
instruction takes two nanoseconds, and so do two cycles: 1e9 cycles and 5e8 instructions a second of CPU.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from task_cgroups import task_cgroups

from serenity.daemon.clock import SystemClock
from serenity.qos.frame import PRODUCTION, Container, Frame, Node
from serenity.qos.sources.counters import Counters
from serenity.qos.sources.cpu_list import parse_cpus
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget
from serenity.qos.sources.perf_encoding import generic
from serenity.qos.sources.perf_probe import HARDWARE
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import ProcessTable

BUSY, IDLE = "while :; do :; done", "sleep 1000"
CYCLES_PER_S, INSTRUCTIONS_PER_S = 1e9, 5e8
WORK_S = 1.0
# The scheduler's CPU times are read a little before and after the counters.
TOLERANCE = 0.08
CORE = {"cycles": ("cycles",), "instructions": ("instructions",)}
# As many events of one kind as no PMU holds.
TOO_MANY = {f"event_{i}": ("instructions",) for i in range(12)}
ONLINE = Path("/sys/devices/system/cpu/online")
CPU1 = Path("/sys/devices/system/cpu/cpu1/online")

Check = Callable[["Bench"], None]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


class Bench:
    """Containers in cgroups of a hierarchy, each with one process."""

    def __init__(self, hierarchy: Path) -> None:
        self.hierarchy = hierarchy
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.faults = Faults()
        self.places = Places()
        self.opened: list[Counters] = []

    def container(self, name: str, work: str) -> Row:
        folder = self.hierarchy / name
        folder.mkdir()
        process = self.processes[name] = subprocess.Popen(["/bin/busybox", "sh", "-c", work])
        (folder / "cgroup.procs").write_text(str(process.pid))
        return Row(Container(name, PRODUCTION, name, 1.0, 0.0, container=name), process.pid)

    def counters(self, wanted: dict[str, tuple[str, ...]] | None = None) -> Counters:
        made = Counters(SystemClock(), self.places, self.faults, FileBudget(), wanted=wanted or CORE, encode=generic)
        self.opened.append(made)
        return made

    def cpu_s(self, name: str) -> float:
        return int(Path(f"/proc/{self.processes[name].pid}/schedstat").read_text().split()[0]) / 1e9

    def wait_for_rest(self, name: str) -> None:
        """Until it has started, and sleeps."""
        before_s = -1.0
        while self.cpu_s(name) > before_s:
            before_s = self.cpu_s(name)
            time.sleep(0.3)

    def end(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while (self.hierarchy / name).exists():
            with contextlib.suppress(OSError):  # Its last process is still going.
                (self.hierarchy / name).rmdir()
            assert time.monotonic() < deadline, f"{name} stays"

    def close(self) -> None:
        for each in self.opened:
            each.close()
        for name in list(self.processes):
            self.end(name)


def read(counters: Counters, *rows: Row) -> Frame:
    draft = Draft(rows, lambda: ProcessTable(()))
    counters.keep([row.id for row in rows])
    counters.read(draft)
    return draft.frame(0.0, Node())


def near(found: float, expected: float, share: float, what: str) -> None:
    assert abs(found - expected) <= share * expected, f"{what}: {found:.4g}, expected {expected:.4g} within {share:.0%}"


def judge(bench: Bench, counters: Counters, names: list[str], rows: list[Row], tolerance: float) -> Frame:
    """Lets them work, and compares the counters with the CPU time that the scheduler says."""
    read(counters, *rows)
    began_s, used_s = time.monotonic(), {name: bench.cpu_s(name) for name in names}
    time.sleep(WORK_S)
    frame = read(counters, *rows)
    elapsed_s = time.monotonic() - began_s
    for name in names:
        i = frame.index(name)
        assert i is not None
        worked = (bench.cpu_s(name) - used_s[name]) / elapsed_s
        print(f"    {name}: {worked:.3f} cpus, {frame.column('cycles')[i]:.4g} cycles/s,"
              f" {frame.column('instructions')[i]:.4g} instructions/s")  # fmt: skip
        near(frame.column("cycles")[i], worked * CYCLES_PER_S, tolerance, f"cycles of {name}")
        near(frame.column("instructions")[i], worked * INSTRUCTIONS_PER_S, tolerance, f"instructions of {name}")
    return frame


@check
def two_cgroups_with_known_work(bench: Bench) -> None:
    rows = [bench.container("idle", IDLE), bench.container("one", BUSY), bench.container("two", BUSY)]
    bench.wait_for_rest("idle")
    frame = judge(bench, bench.counters(), ["one", "two"], rows, TOLERANCE)
    idle = frame.index("idle")
    assert idle is not None
    assert frame.column("cycles")[idle] < 0.02 * CYCLES_PER_S, "the idle one counts"
    assert frame.readings["perf_running"] == 1.0, f"perf_running is {frame.readings['perf_running']}"
    assert bench.faults.counts == {}, f"faults: {bench.faults.counts}"


@check
def an_event_that_this_pmu_lacks_is_told_and_the_others_count(bench: Bench) -> None:
    told = Told()
    rows = [bench.container("one", BUSY)]
    frame = judge(bench, bench.counters(dict(HARDWARE)), ["one"], rows, TOLERANCE)
    assert any("does not count" in each and "llc_misses" in each for each in told.lines), f"said: {told.lines}"
    assert "llc_misses" not in frame.columns


@check
def more_events_than_the_pmu_holds_are_refused(bench: Bench) -> None:
    told = Told()
    rows = [bench.container("one", BUSY)]
    counters = bench.counters(TOO_MANY)
    read(counters, *rows)
    time.sleep(WORK_S / 2)
    columns = read(counters, *rows).columns
    print(f"    {len(columns)} of {len(TOO_MANY)} are counted; said: {told.lines}")
    assert 2 <= len(columns) < len(TOO_MANY)
    assert any("at once" in each and "left out" in each for each in told.lines)
    assert all(values[0] > 0.5 * INSTRUCTIONS_PER_S * WORK_S / 2 for values in columns.values())


@check
def groups_that_share_the_pmu_are_scaled(bench: Bench) -> None:
    rows = [bench.container("one", BUSY)]
    others = bench.counters({f"event_{i}": ("instructions",) for i in range(5)})
    read(others, *rows)
    wanted = {**CORE, **{f"more_{i}": ("instructions",) for i in range(3)}}
    frame = judge(bench, bench.counters(wanted), ["one"], rows, 2 * TOLERANCE)
    share = frame.readings["perf_running"]
    print(f"    on the PMU for {share:.0%} of the time")
    assert 0.2 < share < 0.9


@check
def a_cgroup_that_goes_away_takes_nobody_along(bench: Bench) -> None:
    rows = [bench.container("one", BUSY), bench.container("two", BUSY)]
    counters = bench.counters()
    read(counters, *rows)
    bench.end("one")
    read(counters, *rows)  # It is gone, and the agent has not said so yet.
    frame = judge(bench, counters, ["two"], rows, TOLERANCE)
    assert not frame.column("cycles")[0] > 0, "the one that is gone counts"
    judge(bench, counters, ["two"], rows[1:], TOLERANCE)


@check
def each_cpu_has_its_group_and_cpus_come_and_go(bench: Bench) -> None:
    if len(parse_cpus(ONLINE.read_text())) < 2:
        raise Skipped("one CPU")
    rows = [bench.container("one", BUSY), bench.container("two", BUSY)]
    counters = bench.counters()
    for step, text in (("both", "1"), ("one", "0"), ("both again", "1")):
        CPU1.write_text(text)
        print(f"    with {step} CPUs: {ONLINE.read_text().strip()}")
        read(counters, *rows)
        judge(bench, counters, ["one", "two"], rows, TOLERANCE)
    assert bench.faults.counts == {}, f"faults: {bench.faults.counts}"


class Skipped(Exception):  # noqa: N818 - no error
    """This guest is not made for that check."""


class Told(logging.Handler):
    """What was said from here on."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        logging.getLogger("serenity").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def mounted(kind: str) -> Iterator[Path]:
    point = Path("/") / kind
    options = ["-t", "cgroup2"] if kind == "v2" else ["-t", "cgroup", "-o", "perf_event"]
    subprocess.run(["/bin/busybox", "mount", *options, "none", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["/bin/busybox", "umount", str(point)], check=True)


def bare_v2_gives_the_remedy(hierarchy: Path) -> None:
    """Before anything is enabled in it; afterwards it works."""
    told, bench = Told(), Bench(hierarchy)
    try:
        rows = [bench.container("one", BUSY)]
        read(bench.counters(), *rows)
        assert bench.faults.counts == {"counters": 1}, f"faults: {bench.faults.counts}"
        assert any("cgroup.subtree_control" in each for each in told.lines), f"said: {told.lines}"
    finally:
        bench.close()


def run(name: str, function: Callable[[], None]) -> None:
    began_s = time.monotonic()
    try:
        function()
    except Skipped as why:
        print(f"PMU skipped {name}: {why}")
    except Exception as error:  # noqa: BLE001 - a check fails in any way it likes; the others go on
        traceback.print_exc(file=sys.stdout)
        print(f"PMU failed {name}: {error!r}")
    else:
        print(f"PMU passed {name} ({time.monotonic() - began_s:.1f} s)")


def run_on(hierarchy: Path, function: Check) -> None:
    bench = Bench(hierarchy)
    try:
        function(bench)
    finally:
        bench.close()


def main() -> None:
    logging.getLogger("serenity").setLevel(logging.INFO)
    print(f"PMU begins: {os.uname().release}, CPUs {ONLINE.read_text().strip()}, Python {sys.version.split()[0]}")
    with mounted("v2") as hierarchy:
        run("v2: bare_v2_gives_the_remedy", lambda: bare_v2_gives_the_remedy(hierarchy))
        run("v2: task_cgroups", lambda: task_cgroups(hierarchy))
        (hierarchy / "cgroup.subtree_control").write_text("+pids")
        for each in CHECKS:
            run(f"v2: {each.__name__}", lambda each=each: run_on(hierarchy, each))  # type: ignore[misc]
        (hierarchy / "cgroup.subtree_control").write_text("-pids")
    with mounted("v1") as hierarchy:
        for each in CHECKS:
            run(f"v1: {each.__name__}", lambda each=each: run_on(hierarchy, each))  # type: ignore[misc]
    print("PMU ends")


if __name__ == "__main__":
    main()

"""Hardware counters: all branches, on a kernel that is a script."""

from __future__ import annotations

import errno
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from serenity.qos.sources.counters import Counters, scaled
from serenity.qos.sources.cpu_list import parse_cpus
from serenity.qos.sources.draft import Faults
from serenity.qos.sources.files import FileBudget
from serenity.qos.sources.perf_encoding import GENERIC, Encoding, generic
from serenity.qos.sources.perf_probe import probe
from tests.manual_clock import ManualClock

WANTED = {"cycles": ("cycles",), "instructions": ("instructions",), "llc_misses": ("cache-misses",)}
WHOLE_CPU = "every cgroup"


class FakeKernel:
    """Counts what the test adds by `run`, for the cgroup folder (by name) and CPU."""

    def __init__(self):
        self.refused: dict[Encoding, int] = {}  # errno by event.
        self.slots = 8  # A group of more is refused.
        self.held = 0  # Of them, by others: a group that does not fit beside them never runs.
        self.max_files = 1000
        self.offline: set[int] = set()
        self.nameless: set[str] = set()  # Cgroups without a perf_event state.
        self.counters: dict[int, tuple[str, int, list[Encoding]]] = {}  # Of leaders: who, where, what.
        self.members: dict[int, int] = {}  # Counter → leader.
        self.counts: dict[tuple[str, int], tuple[int, int, dict[Encoding, int]]] = {}
        self.next = 1000

    def open(self, event, pid, cpu, leader, flags):
        who = WHOLE_CPU if pid == -1 else Path(os.readlink(f"/proc/self/fd/{pid}")).name
        code = self.refused.get(event)
        if cpu in self.offline:
            code = errno.ENODEV
        elif who in self.nameless:
            code = errno.ENOENT
        elif len(self.members) >= self.max_files:
            code = errno.EMFILE
        elif leader != -1 and len(self.counters[leader][2]) >= self.slots:
            code = errno.EINVAL
        if code:
            raise OSError(code, os.strerror(code))
        self.next += 1
        if leader == -1:
            self.counters[self.next] = (who, cpu, [event])
        else:
            self.counters[leader][2].append(event)
        self.members[self.next] = self.next if leader == -1 else leader
        return self.next

    def read(self, counter, size):
        who, cpu, events = self.counters[counter]
        if who == WHOLE_CPU:
            runs = len(events) <= self.slots - self.held
            return struct.pack(f"=3Q{len(events)}Q", len(events), 1000, 1000 * runs, *(0 for _ in events))
        if cpu in self.offline:
            return b""
        enabled, running, values = self.counts.get((who, cpu), (0, 0, {}))
        return struct.pack(
            f"=3Q{len(events)}Q", len(events), enabled, running, *(values.get(each, 0) for each in events)
        )

    def close(self, counter):
        del self.members[counter]
        self.counters.pop(counter, None)

    def run(self, who, cpu, seconds, running_share=1.0, **per_second):
        """Cgroup `who` runs on `cpu` for so long; events are named with ``_`` for ``-``."""
        enabled, running, values = self.counts.get((who, cpu), (0, 0, {}))
        values = dict(values)
        for name, rate in per_second.items():
            event = GENERIC[name.replace("_", "-")]
            values[event] = values.get(event, 0) + round(rate * seconds * running_share)
        self.counts[who, cpu] = (enabled + round(seconds * 1e9), running + round(seconds * running_share * 1e9), values)


@pytest.fixture
def kernel():
    return FakeKernel()


@pytest.fixture
def bench(machine, kernel, tmp_path):
    return Bench(machine, kernel, tmp_path)


class Bench:
    def __init__(self, machine, kernel, folder):
        self.machine = machine("v2")
        self.kernel = kernel
        self.clock = ManualClock()
        self.faults = Faults()
        self.online = folder / "online"
        self.online.write_text("0-1\n")
        self.places = self.machine.places
        self.made = None

    def counters(self, budget=None, wanted=WANTED, places=None, **more):
        self.made = Counters(
            self.clock, places or self.places, self.faults, budget or FileBudget(),
            kernel=self.kernel, wanted=wanted, encode=generic, online=self.online, **more,
        )  # fmt: skip
        return self.made

    def sample(self, *rows, after_s=1.0):
        """`{row: {column: value}}`, what was measured only, and the readings."""
        if self.made is None:
            self.counters()
        self.clock.advance(after_s)
        draft = self.machine.draft(*rows)
        self.made.keep([row.id for row in rows])
        self.made.read(draft)
        frame = draft.frame(0.0, node=None)
        columns = {
            row.id: {name: values[i] for name, values in frame.columns.items() if math.isfinite(values[i])}
            for i, row in enumerate(rows)
        }
        return columns, frame.readings


# --- the arithmetic ---


def test_counts_are_scaled_to_all_of_the_time():
    def total(*cpus):  # Each: time enabled, time running, two counts.
        found = scaled(np.array(cpus, dtype=float).reshape(-1, 4))
        return None if found is None else tuple(found)

    # CPU 0: on the PMU for half of its 2 s; CPU 1 for all of its 1 s.
    assert total((2.0, 1.0, 10, 4), (1.0, 1.0, 5, 1)) == (25.0, 9.0)
    # CPU 1 ran for 1 s and was never counted: as many as on the others, by time.
    assert total((2.0, 2.0, 10, 4), (1.0, 0.0, 0, 0)) == (15.0, 6.0)
    assert total((0.0, 0.0, 0, 0)) == (0.0, 0.0)  # It did not run.
    assert total((1.0, 0.0, 0, 0)) is None
    assert total() is None


def test_lists_of_cpus():
    assert parse_cpus("0-3,8\n") == [0, 1, 2, 3, 8]
    assert parse_cpus("0") == [0]


# --- containers ---


def test_rates_of_two_containers_over_all_cpus(bench, kernel):
    web, burn = bench.machine.container("web", 1), bench.machine.container("burn", 2, production=False)
    assert bench.sample(web, burn)[0] == {"web": {}, "burn": {}}  # A rate needs two readings.
    kernel.run("web", 0, 0.5, cycles=2e9, instructions=3e9, cache_misses=1e6)
    kernel.run("web", 1, 0.25, cycles=2e9, instructions=3e9, cache_misses=1e6)
    kernel.run("burn", 1, 1.0, cycles=2e9, instructions=1e9)
    columns, readings = bench.sample(web, burn)
    assert columns == {
        "web": {"cycles": 1.5e9, "instructions": 2.25e9, "llc_misses": 0.75e6},
        "burn": {"cycles": 2e9, "instructions": 1e9, "llc_misses": 0.0},
    }
    assert readings == {"perf_running": 1.0, "perf_left_out": 0}
    kernel.run("burn", 1, 2.0, cycles=2e9, instructions=1e9)
    columns, _ = bench.sample(web, burn, after_s=2.0)
    assert columns["web"]["cycles"] == 0.0  # It slept.
    assert columns["burn"]["cycles"] == 2e9
    assert bench.faults.counts == {}


def test_multiplexing_is_scaled_and_told(bench, kernel):
    web = bench.machine.container("web", 1)
    bench.sample(web)
    kernel.run("web", 0, 1.0, running_share=0.25, cycles=2e9, instructions=4e9)
    columns, readings = bench.sample(web)
    assert columns["web"]["cycles"] == 2e9
    assert readings["perf_running"] == 0.25


def test_counters_that_are_held_by_others_later_on_give_nothing_and_the_remedy(bench, kernel, caplog):
    caplog.set_level("INFO")
    web = bench.machine.container("web", 1)
    bench.sample(web)
    for _ in range(2):
        kernel.run("web", 0, 1.0, running_share=0.0, cycles=2e9)
        columns, readings = bench.sample(web)
        assert columns == {"web": {}}
        assert readings["perf_running"] == 0.0
    assert caplog.text.count("nmi_watchdog") == 1


def test_cpus_that_come_and_go(bench, kernel):
    web = bench.machine.container("web", 1)
    bench.sample(web)
    bench.online.write_text("0,2\n")
    kernel.offline.add(1)
    bench.sample(web)
    for cpu in (0, 2):
        kernel.run("web", cpu, 1.0, cycles=1e9)
    assert bench.sample(web)[0]["web"]["cycles"] == 2e9
    # It is said to be online, and is not any more.
    bench.online.write_text("0,2-3\n")
    kernel.offline.add(3)
    kernel.run("web", 0, 1.0, cycles=1e9)
    assert bench.sample(web)[0]["web"]["cycles"] == 1e9
    # None is left that was there before; then none that can be counted on.
    bench.online.write_text("5\n")
    assert bench.sample(web)[0] == {"web": {}}
    bench.online.write_text("3\n")
    assert bench.sample(web)[0] == {"web": {}}
    bench.online.write_text("5\n")
    bench.sample(web)
    kernel.run("web", 5, 1.0, cycles=1e9)
    assert bench.sample(web)[0]["web"]["cycles"] == 1e9
    assert bench.faults.counts == {}


def test_a_counter_that_the_kernel_gave_up_is_opened_anew(bench, kernel):
    web, well = bench.machine.container("web", 1), bench.machine.container("well", 2)
    bench.sample(web, well)
    (broken,) = [number for number, (who, cpu, _) in kernel.counters.items() if (who, cpu) == ("web", 0)]
    kernel.counters[broken] = ("web", 9, kernel.counters[broken][2])
    kernel.offline.add(9)
    kernel.run("well", 0, 1.0, cycles=1e9)
    columns, _ = bench.sample(web, well)
    assert columns == {"web": {}, "well": {"cycles": 1e9, "instructions": 0.0, "llc_misses": 0.0}}
    assert bench.faults.counts == {"counters": 1}
    bench.sample(web, well)
    kernel.run("web", 0, 1.0, cycles=1e9)
    assert bench.sample(web, well)[0]["web"]["cycles"] == 1e9


def test_a_container_that_goes_leaves_no_file_open(bench, kernel):
    web, gone = bench.machine.container("web", 1), bench.machine.container("gone", 2)
    bench.sample(web, gone)
    assert len(kernel.members) == 2 * 2 * 3
    bench.sample(web)
    assert {who for who, _, _ in kernel.counters.values()} == {"web"}
    bench.made.close()
    assert kernel.members == {}


def test_a_cgroup_that_is_gone_is_counted_and_the_others_go_on(bench, kernel):
    web, gone = bench.machine.container("web", 1), bench.machine.container("gone", 2)
    (bench.machine.folder / "v2/mesos/gone").rmdir()
    bench.sample(web, gone)
    kernel.run("web", 0, 1.0, cycles=1e9)
    assert bench.sample(web, gone)[0]["web"]["cycles"] == 1e9
    assert bench.faults.counts == {"counters": 2}


def test_a_bare_v2_hierarchy_gets_the_remedy(bench, kernel, caplog):
    web = bench.machine.container("web", 1)
    kernel.nameless.add("web")
    bench.sample(web)
    assert "cgroup.subtree_control" in caplog.text


def test_v1_without_the_isolator_gets_the_remedy(bench, kernel, caplog, tmp_path):
    caplog.set_level("INFO")
    hybrid = type(bench.machine)(tmp_path / "hybrid", ("cpuacct", "perf_event", "v2"))
    shared = hybrid.container("shared", 1, own=["cpuacct", "v2"])
    own = hybrid.container("own", 2)
    bench.counters(places=hybrid.places)
    bench.sample(shared, own)
    assert "cgroups/perf_event" not in caplog.text, "it may be on its way there"
    for _ in range(4):
        bench.sample(shared, own)
    assert "cgroups/perf_event" in caplog.text
    assert {who for who, _, _ in kernel.counters.values()} == {"own"}


# --- more than there is room for ---


def test_production_goes_first_where_open_files_are_few(bench, kernel):
    burn, web = bench.machine.container("burn", 1, production=False), bench.machine.container("web", 2)
    budget = FileBudget(reserve=FileBudget().limit - 7)  # Room for seven: one container of two CPUs and three events.
    bench.counters(budget)
    _, readings = bench.sample(burn, web)
    assert {who for who, _, _ in kernel.counters.values()} == {"web"}
    assert readings["perf_left_out"] == 1
    # It has its turn when there is room.
    _, readings = bench.sample(burn)
    assert {who for who, _, _ in kernel.counters.values()} == {"burn"}
    assert readings["perf_left_out"] == 0


def test_more_groups_than_are_read_at_once_are_read_in_turn(bench, kernel):
    burn = bench.machine.container("burn", 1, production=False)
    first, second = bench.machine.container("first", 2), bench.machine.container("second", 3)
    bench.counters(max_readings=5)  # Two containers on two CPUs.
    seen = []
    for _ in range(6):
        for each in ("burn", "first", "second"):
            kernel.run(each, 0, 1.0, cycles=1e9)
        columns, readings = bench.sample(burn, first, second)
        seen.append({name: columns[name]["cycles"] for name in columns if columns[name]})
        assert readings["perf_left_out"] == 0
    # Who has waited is first, with a rate over all of the time; then production.
    every = {"burn": 1e9, "first": 1e9, "second": 1e9}
    assert [set(each) for each in seen] == [
        set(), {"first"}, {"first", "second"}, {"burn", "first"}, {"first", "second"}, {"burn", "first"},
    ]  # fmt: skip
    assert all(each.items() <= every.items() for each in seen)
    assert bench.faults.counts == {}


def test_the_kernels_own_limit_is_no_fault_of_the_container(bench, kernel, caplog):
    caplog.set_level("INFO")
    web, burn = bench.machine.container("web", 1), bench.machine.container("burn", 2, production=False)
    kernel.max_files = 8
    for _ in range(2):
        _, readings = bench.sample(web, burn)
    assert readings["perf_left_out"] == 1
    assert len(kernel.members) == 6
    assert bench.faults.counts == {}
    assert caplog.text.count("open files") == 1


class CountingKernel(FakeKernel):
    def __init__(self):
        super().__init__()
        self.opens = 0

    def open(self, *arguments):
        self.opens += 1
        return super().open(*arguments)


def test_who_does_not_fit_into_the_budget_is_not_opened_in_part(bench):
    kernel = bench.kernel = CountingKernel()
    rows = [bench.machine.container(f"c{i}", i + 1) for i in range(4)]
    bench.counters(FileBudget(reserve=FileBudget().limit - 11))  # Room for one of six files, and most of a second.
    bench.sample(*rows)
    opened = kernel.opens
    for _ in range(3):
        _, readings = bench.sample(*rows)
        assert readings["perf_left_out"] == 3
    assert (kernel.opens, len(kernel.members)) == (opened, 6)


def test_a_kernel_out_of_files_is_left_in_peace_for_some_samples(bench):
    kernel = bench.kernel = CountingKernel()
    web, burn, third = (bench.machine.container(name, i) for i, name in enumerate(("web", "burn", "third"), 1))
    kernel.max_files = 8  # Others hold the rest; the budget has room.
    bench.counters()
    bench.sample(web, burn, third)
    opened = kernel.opens
    for _ in range(9):
        kernel.run("web", 0, 1.0, cycles=1e9)
        columns, readings = bench.sample(web, burn, third)
        assert (readings["perf_left_out"], columns["web"]["cycles"]) == (2, 1e9)
    assert kernel.opens == opened
    kernel.max_files = 1000
    _, readings = bench.sample(web, burn, third)
    assert (readings["perf_left_out"], len(kernel.members)) == (0, 18)
    bench.made.close()
    assert bench.made._budget._taken == 0


# --- what the machine has ---


def probed(kernel, **wanted):
    return probe(kernel, wanted or WANTED, generic, 0, pause=lambda _s: None)


def test_a_missing_event_leaves_the_others(kernel):
    kernel.refused[GENERIC["cache-misses"]] = errno.ENOENT
    pmu = probed(kernel)
    assert list(pmu.events) == ["cycles", "instructions"]
    assert pmu.lacks == ("this PMU does not count llc_misses",)
    assert kernel.members == {}


def test_the_first_name_that_is_there_is_taken(kernel):
    kernel.refused[GENERIC["cache-misses"]] = errno.EINVAL
    pmu = probed(kernel, llc_misses=("no-such-name", "cache-misses", "LLC-load-misses"))
    assert pmu.events == {"llc_misses": GENERIC["LLC-load-misses"]}


@pytest.mark.parametrize(("slots", "held"), [(2, 0), (3, 1)])
def test_more_events_than_the_pmu_holds_are_refused(kernel, slots, held):
    kernel.slots, kernel.held = slots, held  # Refused when it is opened; or it never runs.
    pmu = probed(kernel)
    assert list(pmu.events) == ["cycles", "instructions"]
    assert "llc_misses left out" in pmu.lacks[0]
    assert "nmi_watchdog" in pmu.lacks[0]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOENT, "no PMU"),
        (errno.EOPNOTSUPP, "no PMU"),
        (errno.EACCES, "CAP_PERFMON"),
        (errno.EPERM, "perf_event_paranoid"),
        (errno.ENOSYS, "no perf_event_open"),
        (errno.ENOMEM, "going on without"),
    ],
)
def test_a_machine_that_counts_nothing_says_so_once(bench, kernel, caplog, code, says):
    caplog.set_level("INFO")
    kernel.refused = dict.fromkeys(GENERIC.values(), code)
    web = bench.machine.container("web", 1)
    for _ in range(3):
        assert bench.sample(web) == ({"web": {}}, {})
    assert [says in each.message for each in caplog.records] == [True]
    assert bench.faults.counts == {}

"""What is read of a container, in v1, in v2, and with both mounted at once."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import pytest

from serenity.qos.sources import meters, pressure
from serenity.qos.sources.draft import Faults
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.usage import Usage
from tests.manual_clock import ManualClock

V1_FILES = {
    "cpuacct": {"cpuacct__usage": "{seconds}000000000\n"},
    "cpu": {"cpu__stat": "nr_periods 5\nnr_throttled 1\nthrottled_time {seconds}00000000\n"},
    "memory": {
        "memory__usage_in_bytes": "1000\n",
        "memory__kmem__usage_in_bytes": "60\n",
        "memory__stat": "cache 1\ninactive_file 1\ntotal_cache 500\ntotal_inactive_file 400\ntotal_active_file 100\n",
    },
    "blkio": {
        "blkio__throttle__io_service_bytes_recursive": "8:0 Read 1\n8:0 Total 7\n254:0 Total 9\nTotal {seconds}096\n",
        "blkio__throttle__io_service_bytes": "Total 5\n",
    },
}
PSI = "some avg10=0.00 avg60=0.00 avg300=0.00 total={seconds}00000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
V2_FILES = {
    "cpu__stat": "usage_usec {seconds}000000\nuser_usec 5\nthrottled_usec {seconds}00000\n",
    "memory__current": "2000\n",
    "memory__stat": "anon 5\ninactive_file 300\nactive_file 200\nslab_reclaimable 50\nslab_unreclaimable 9\n",
    "io__stat": "254:0 rbytes={seconds}000 wbytes=24 rios=1 wios=2 dbytes=7 dios=8\n8:0 rbytes=6 wbytes=0 rios=0\n",
    **{f"{each}__pressure": PSI for each in pressure.RESOURCES},
}


class Read:
    def __init__(self, machine):
        self.machine = machine
        self.clock = ManualClock()
        self.faults = Faults()
        self.files = KeptFiles(FileBudget())
        places = machine.places
        residents = Residents(self.clock, places, self.files, machine.proc)
        self.usage = Usage(self.clock, places, self.faults, self.files, residents, machine.proc)

    def sample(self, *rows, after_s=1.0):
        self.clock.advance(after_s)
        draft = self.machine.draft(*rows)
        self.usage.read(draft)
        frame = draft.frame(0.0, None)
        return [
            {name: float(values[i]) for name, values in frame.columns.items() if math.isfinite(values[i])}
            for i in range(len(rows))
        ]


def write(machine, hierarchy, name, files, seconds):
    machine.write(hierarchy, name, **{file: text.replace("{seconds}", str(seconds)) for file, text in files.items()})


def is_read_whole(machine, read, row):
    """Two samples of all that v1 has give all that there is to tell."""
    for seconds in (10, 12):
        for hierarchy, files in V1_FILES.items():
            write(machine, hierarchy, "web", files, seconds)
        (columns,) = read.sample(row, after_s=4.0)
    expected = {"cpu": 0.5, "throttled": 0.05, "rss_bytes": 600.0, "cache_bytes": 160.0, "io_bytes": 500.0}
    assert columns == pytest.approx(expected)
    assert read.faults.counts == {}


def test_v1(machine):
    made = machine(*V1_FILES)
    is_read_whole(made, Read(made), made.container("web", 1))


def test_v2(machine):
    made = machine("v2")
    web = made.container("web", 1)
    read = Read(made)
    for seconds in (10, 12):
        write(made, "v2", "web", V2_FILES, seconds)
        (columns,) = read.sample(web, after_s=4.0)
    expected = {"cpu": 0.5, "throttled": 0.05, "rss_bytes": 1700.0, "cache_bytes": 250.0, "io_bytes": 500.0}
    assert columns == pytest.approx({**expected, **{f"psi_{each}": 0.05 for each in pressure.RESOURCES}})


def test_how_long_best_effort_waits_is_not_read(machine):
    made = machine("v2")
    task = made.container("task", 1, production=False)
    read = Read(made)
    for seconds in (10, 12):
        write(made, "v2", "task", V2_FILES, seconds)
        (columns,) = read.sample(task, after_s=4.0)
    assert columns.keys() == {"cpu", "throttled", "rss_bytes", "cache_bytes", "io_bytes"}


def test_both_at_once_each_where_it_is(machine):
    """Hybrid: the container is in v1 hierarchies and in v2, where only PSI and CPU time are to be had."""
    made = machine("cpuacct", "memory", "v2")
    web = made.container("web", 1)
    read = Read(made)
    only = {name: V2_FILES[name] for name in ("cpu__stat", "cpu__pressure")}
    for seconds in (10, 12):
        for hierarchy in ("cpuacct", "memory"):
            write(made, hierarchy, "web", V1_FILES[hierarchy], seconds)
        write(made, "v2", "web", only, seconds)
        (columns,) = read.sample(web, after_s=4.0)
    expected = {"cpu": 0.5, "throttled": 0.05, "rss_bytes": 600.0, "cache_bytes": 160.0, "psi_cpu": 0.05}
    assert columns == pytest.approx(expected)


def test_a_counter_that_is_reset_is_no_rate(machine):
    made = machine("v2")
    web = made.container("web", 1)
    read = Read(made)
    rates = []
    for seconds in (10, 12, 3, 4):
        write(made, "v2", "web", V2_FILES, seconds)
        rates.append(read.sample(web)[0].get("cpu"))
    assert rates == [None, 2.0, None, 1.0]


def test_a_counter_in_a_file_of_its_own_is_read_rarely_while_it_stands_still(machine):
    made = machine("cpu", "cpuacct")
    web = made.container("web", 1)
    read = Read(made)
    rates = []
    for sample in range(60):
        throttled_ns = max(0, sample - 39) * 250_000_000
        write(made, "cpu", "web", {"cpu__stat": f"throttled_time {throttled_ns}\n"}, 0)
        write(made, "cpuacct", "web", V1_FILES["cpuacct"], sample)
        rates.append(read.sample(web)[0].get("throttled"))
    still, grows = rates[:40], rates[50:]
    assert [each for each in still if each is not None] == [0.0] * 5
    assert grows == pytest.approx([0.25] * 10)


def test_what_no_machine_has_is_no_measurement(machine, caplog):
    made = machine("v2")
    web = made.container("web", 1)
    read = Read(made)
    seen = []
    jumped = 10**14
    for seconds, memory, read_bytes in (
        (10, 2000, 0), (11, 1 << 60, 5000), (999999, 2000, jumped), (1000000, 2000, jumped + 7000),
    ):  # fmt: skip
        texts = {"memory__current": f"{memory}\n", "io__stat": f"254:0 rbytes={read_bytes} wbytes=0\n"}
        write(made, "v2", "web", {**V2_FILES, **texts}, seconds)
        (columns,) = read.sample(web)
        seen.append((columns.get("cpu"), columns.get("rss_bytes"), columns.get("io_bytes")))
    assert seen == [(None, 1700.0, None), (1.0, None, 5000.0), (None, 1700.0, None), (1.0, 1700.0, 7000.0)]
    assert read.faults.counts == {"cpu": 1, "rss_bytes": 1, "io_bytes": 1}
    assert "cores are more than this machine has" in caplog.text


def test_one_broken_file_costs_its_own_column_only(machine):
    made = machine("v2")
    web, well = made.container("web", 1), made.container("well", 2)
    write(made, "v2", "web", {**V2_FILES, "memory__current": "garbage"}, 1)
    write(made, "v2", "well", V2_FILES, 1)
    read = Read(made)
    first, second = read.sample(web, well)
    assert "rss_bytes" not in first
    assert second["rss_bytes"] == 1700.0
    assert read.faults.counts == {"rss_bytes": 1}


def test_what_the_machine_counts_as_available_of_a_container():
    v1, v2 = meters.available(b"total_active_file"), meters.available(b"active_file", b"slab_reclaimable")
    assert v1(b"total_active_file 5\n") == 5.0, "a kernel that does not charge its own memory"
    assert v1(b"total_active_file 5\n", b"7\n") == 12.0
    assert v2(b"active_file 5\n") == 5.0
    assert v2(b"active_file 5\nslab_reclaimable 7\n") == 12.0
    assert (v1(b"", b"7\n"), v2(b"slab_reclaimable 7\n")) == (None, None)


def test_no_io_yet_is_none_done():
    assert meters.io_stat_bytes(b"") == 0.0
    assert meters.blkio_bytes(b"Total 0\n") == 0.0
    assert meters.blkio_bytes(b"") is None
    assert meters.field(b"a", 2.0)(b"aa 1\nba 2\na 21\n") == 42.0
    assert meters.field(b"a", 2.0)(b"a 21") == 42.0
    assert meters.field(b"a", 1.0)(b"aa 1\n") is None


def test_pressure():
    assert pressure.stalled_s(PSI.replace("{seconds}", "15").encode()) == 1.5
    for other in (b"", b"full avg10=0 total=5\n", b"some avg10=0\n"):
        with pytest.raises(ValueError, match="pressure"):
            pressure.stalled_s(other)


# --- files that stay open ---


def test_a_kept_file_is_read_anew_each_time_and_whole(tmp_path):
    files = KeptFiles(FileBudget())
    path = tmp_path / "x"
    path.write_text("1")
    assert files.read("row", str(path)) == b"1"
    path.write_text("2\n" * 30_000)
    assert files.read("row", str(path)) == b"2\n" * 30_000
    assert open_files(tmp_path) == 1
    files.keep([])
    assert open_files(tmp_path) == 0
    with pytest.raises(FileNotFoundError):
        files.read("row", str(tmp_path / "none"))


def test_without_room_nothing_stays_open_and_all_is_read(tmp_path):
    files = KeptFiles(FileBudget(reserve=FileBudget().limit // 2 - 2))
    for name in "abc":
        (tmp_path / name).write_text(name)
        assert files.read("row", str(tmp_path / name)) == name.encode()
    assert open_files(tmp_path) == 2
    files.forget("row", [str(tmp_path / "a")])
    assert files.read("row", str(tmp_path / "c")) == b"c"
    assert open_files(tmp_path) == 2
    files.close()
    assert open_files(tmp_path) == 0


def open_files(folder):
    links = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(each))
        except FileNotFoundError:
            continue  # The one that lists them.
    return sum(link.startswith(str(folder)) for link in links)


# --- task groups ---


def test_the_nested_containers_of_a_task_group_belong_to_it(machine):
    made = machine("memory", "v2")
    pod = made.container("pod", 1)
    nested = made.folder / "memory/mesos/pod/mesos/nested"
    nested.mkdir(parents=True)
    for folder, text in ((nested.parents[1], "1\n2\n"), (nested.parent, ""), (nested, "3\n")):
        (folder / "cgroup.procs").write_text(text)
        (folder / "tasks").write_text(text)
    clock = ManualClock()
    residents = Residents(clock, made.places, KeptFiles(FileBudget()), made.proc)
    draft = made.draft(pod)
    assert sorted(residents.pids(pod, draft)) == [1, 2, 3]
    assert sorted(residents.threads(pod, draft)) == [1, 2, 3]
    # One more is there within a few seconds; who is gone is gone at once.
    (nested.parent / "later").mkdir()
    (nested.parent / "later/tasks").write_text("4\n")
    (nested / "tasks").write_text("")
    clock.advance(5.0)
    assert sorted(residents.threads(pod, draft)) == [1, 2, 4]


def test_nested_containers_that_are_gone_leave_no_file_open(machine):
    made = machine("v2")
    pod = made.container("pod", 1)
    folder = made.folder / "v2/mesos/pod"
    clock, files = ManualClock(), KeptFiles(FileBudget())
    residents = Residents(clock, made.places, files, made.proc)
    for name in ("cgroup.procs", "cgroup.threads"):
        (folder / name).write_text("1\n")
    for i in range(50):
        nested = folder / f"mesos/nested-{i}"
        nested.mkdir(parents=True)
        for name in ("cgroup.procs", "cgroup.threads"):
            (nested / name).write_text("2\n")
        draft = made.draft(pod)
        assert sorted(residents.pids(pod, draft)) == sorted(residents.threads(pod, draft)) == [1, 2]
        shutil.rmtree(nested)
        if i % 2:
            residents.pids(pod, draft)  # It misses the folder by itself, the next look otherwise.
        clock.advance(5.0)
    residents.pids(pod, made.draft(pod))
    assert open_files(made.folder) == 2
    files.close()


# --- the first looks ---


def test_a_container_that_is_still_being_put_into_its_cgroups_gets_all_of_them(machine):
    """Its launcher has it in the freezer, and tells its process; its isolators come later."""
    made = machine("freezer", *V1_FILES)
    web = made.container("web", 1, own=["freezer"])
    (made.proc / "1/cgroup").rename(made.proc / "1/first")
    (made.proc / "1").rename(made.proc / "2")
    made.container("web", 1)
    everywhere = (made.proc / "1/cgroup").read_text()
    read = Read(made)
    (made.proc / "1/cgroup").write_text((made.proc / "2/first").read_text())
    assert read.sample(web) == [{}]
    (made.proc / "1/cgroup").write_text(everywhere)
    is_read_whole(made, read, web)


def test_places_are_looked_for_once_a_sample_and_not_for_ever(machine):
    made = machine("freezer", "memory", "cpu")
    web = made.container("web", 1, own=["freezer"])
    places = made.places
    for look in range(1, 6):
        draft = made.draft(web)
        assert [places.of(web, draft).settled for _source in range(3)] == [look == 5] * 3
    (made.proc / "1/cgroup").write_text("1:freezer:/mesos/web\n2:memory:/mesos/web\n3:cpu:/mesos/web\n")
    place = places.of(web, made.draft(web))
    assert (place.settled, set(place.cgroup.folders)) == (True, {"freezer"})
    # Whose first process is gone after the first look keeps what was found; who is in all need not be looked for.
    gone = made.container("gone", 3, own=["freezer"])
    places.of(gone, made.draft(gone))
    shutil.rmtree(made.proc / "3")
    assert set(places.of(gone, made.draft(gone)).cgroup.folders) == {"freezer"}
    whole = made.container("whole", 4)
    assert places.of(whole, made.draft(whole)).settled


def test_a_counter_of_another_hierarchy_is_not_compared(machine):
    made = machine("cpuacct", "v2", "name=systemd")
    web = made.container("web", 1, own=["v2"])
    read = Read(made)
    write(made, "v2", "web", {"cpu__stat": "usage_usec 1000000\n"}, 0)
    assert "cpu" not in read.sample(web)[0]
    (made.proc / "1/cgroup").write_text("1:cpuacct:/mesos/web\n0::/mesos/web\n")
    (made.folder / "cpuacct/mesos/web").mkdir(parents=True)
    write(made, "cpuacct", "web", V1_FILES["cpuacct"], 2)
    assert "cpu" not in read.sample(web)[0]
    write(made, "cpuacct", "web", V1_FILES["cpuacct"], 3)
    assert read.sample(web)[0]["cpu"] == 1.0

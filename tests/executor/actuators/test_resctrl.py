"""Cache and memory bandwidth by resctrl, against a made-up one that refuses what the kernel refuses."""

from __future__ import annotations

import errno

import pytest

from serenity.executor.corrections.actuators import ActuatorError, Allowance, Target
from serenity.executor.corrections.actuators.cache_ways import CacheWays, lowest_run, taken
from serenity.executor.corrections.actuators.memory_bandwidth import MemoryBandwidth
from serenity.executor.corrections.actuators.resctrl_class import ResctrlClass
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals, read_record, record_file
from tests.executor.actuators.made_up_kernel import MadeUpResctrl

T1, T2 = Target("t1"), Target("t2")
THREADS = {"t1": [10, 11], "t2": [20]}


class Machine:
    """A made-up one, with two tasks on it, in the default class."""

    def __init__(self, tmp_path, cpuinfo="vendor_id : GenuineIntel", mount_options="rw", **resctrl):
        self.kernel = MadeUpResctrl(tmp_path / "resctrl", **resctrl)
        self.threads = {task: list(each) for task, each in THREADS.items()}
        self.kernel.start(*(thread for each in self.threads.values() for thread in each), 99)
        self.proc = tmp_path / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/mounts").write_text(f"resctrl {self.kernel.root} resctrl {mount_options} 0 0\n")
        (self.proc / "cpuinfo").write_text(f"{cpuinfo}\n")
        self.originals = Originals(tmp_path / "originals", "c1", self.kernel)
        self.threads_of = self.threads.get
        self.resctrl = ResctrlClass(
            self.originals, "serenity-c1", lambda task: self.threads_of(task), self.kernel.root, self.proc
        )
        self.ways = CacheWays(self.resctrl)
        self.bandwidth = MemoryBandwidth(self.resctrl, self.proc)
        self.folder = self.resctrl.folder

    def value(self, key):
        return self.kernel.value(Knob(self.folder / "schemata", key))

    @property
    def inside(self):
        return self.kernel.in_class(self.folder)


def left(share):
    return Allowance(share * 4.0, 4.0)


def test_ways_are_taken_and_given_back(tmp_path):
    machine = Machine(tmp_path)
    assert machine.ways.available(T1) is None
    assert machine.ways.apply(T1, left(0.5)) == "6 of 12 ways, in class serenity-c1"
    assert [machine.value("L3:0"), machine.value("L3:1"), machine.value("MB:0")] == ["3f", "3f", "100"]
    assert machine.inside == {10, 11}
    assert machine.ways.apply(T1, left(0.01)) == "2 of 12 ways, in class serenity-c1"  # Fewer the processor cannot.
    machine.ways.undo(T1)
    assert not machine.folder.exists()
    assert machine.kernel.in_class(machine.kernel.root) == {10, 11, 20, 99}


def test_a_class_is_shared_and_says_so(tmp_path):
    machine = Machine(tmp_path)
    machine.ways.apply(T1, left(0.5))
    assert machine.ways.apply(T2, left(0.25)) == "3 of 12 ways, in class serenity-c1, shared with 1 more of ours"
    assert machine.inside == {10, 11, 20}
    machine.ways.undo(T2)
    assert machine.value("L3:0") == "3f"
    assert machine.inside == {10, 11}


def test_both_limits_are_one_class_and_the_last_one_removes_it(tmp_path):
    machine = Machine(tmp_path)
    machine.ways.apply(T1, left(0.5))
    machine.bandwidth.apply(T1, left(0.5))
    assert (machine.value("L3:0"), machine.value("MB:0")) == ("3f", "50")
    machine.ways.undo(T1)
    assert (machine.value("L3:0"), machine.value("MB:0")) == ("fff", "50")
    machine.bandwidth.undo(T1)
    assert not machine.folder.exists()


@pytest.mark.parametrize(("share", "percent"), [(0.5, "50"), (0.55, "50"), (0.125, "10"), (0.01, "10"), (1.0, "100")])
def test_bandwidth_is_a_multiple_of_what_the_processor_can(tmp_path, share, percent):
    machine = Machine(tmp_path)
    assert machine.bandwidth.apply(T1, left(share)) == f"{percent} %, in class serenity-c1"
    assert machine.value("MB:1") == percent


def test_what_was_measured_bounds_a_rate_on_amd(tmp_path):
    machine = Machine(tmp_path, cpuinfo="vendor_id : AuthenticAMD", bandwidth=(0, 1, 2048), domains=(0, 1, 2, 3))
    assert "not measured" in machine.bandwidth.available(T1)
    used = Target("t1", measured={"mem_bw": 16e9})
    assert machine.bandwidth.available(used) is None
    # Half of 16 GB/s, in at most two caches at once, in eighths of a GB/s.
    assert machine.bandwidth.apply(used, Allowance(1.0, 2.0)).startswith("4.00 GB/s")
    assert machine.value("MB:3") == "32"
    # It uses less now; what it is left is a share of what it used before.
    assert machine.bandwidth.apply(Target("t1", measured={"mem_bw": 4e9}), Allowance(0.5, 2.0)).startswith("2.00 GB/s")


def test_a_rate_in_megabytes_where_resctrl_is_mounted_so(tmp_path):
    machine = Machine(tmp_path, mount_options="rw,mba_MBps", bandwidth=(10, 1, 4294967295))
    machine.bandwidth.apply(Target("t1", measured={"mem_bw": 2**30}), Allowance(0.5, 1.0))
    assert machine.value("MB:0") == "512"


def test_threads_that_are_made_meanwhile_are_taken_in(tmp_path):
    machine = Machine(tmp_path)
    machine.ways.apply(T1, left(0.5))
    machine.threads["t1"] += [12, 13]
    machine.kernel.start(12, 13)
    assert machine.ways.look(T1) is None
    assert machine.inside == {10, 11, 12, 13}


def test_a_thread_that_ends_while_it_is_moved_is_no_error(tmp_path):
    machine = Machine(tmp_path)
    machine.kernel.threads -= {11}
    answers = iter([[10, 11], [10, 11], [10], [10]])
    machine.threads_of = lambda _task: next(answers)
    machine.ways.apply(T1, left(0.5))
    assert machine.inside == {10}


def test_tasks_go_back_to_the_class_that_they_were_in(tmp_path):
    machine = Machine(tmp_path)
    batch = machine.kernel.root / "batch"
    machine.kernel.make(batch)
    for thread in (10, 11):
        machine.kernel.write(batch / "tasks", str(thread))
    (machine.proc / "10").mkdir()
    (machine.proc / "10/cpu_resctrl_groups").write_text("res:/batch\nmon:\n")
    machine.ways.apply(T1, left(0.5))
    assert machine.kernel.in_class(batch) == set()
    machine.ways.undo(T1)
    assert machine.kernel.in_class(batch) == {10, 11}


def test_ways_of_somebody_who_has_them_to_himself_are_left(tmp_path):
    machine = Machine(tmp_path, bit_usage="0=SSSSSSSSSEEE;1=SSSSSSSSSSSS")
    machine.ways.apply(T1, left(0.25))
    assert (machine.value("L3:0"), machine.value("L3:1")) == ("38", "7")


def test_without_a_run_of_free_ways_there_is_no_limit(tmp_path):
    machine = Machine(tmp_path, min_cbm_bits=2, cbm_bits=4, bit_usage="0=SESE;1=SSSS")
    with pytest.raises(ActuatorError, match="no 2 ways side by side"):
        machine.ways.apply(T1, left(0.5))
    assert not machine.folder.exists()
    assert machine.kernel.in_class(machine.kernel.root) >= {10, 11}


def test_no_class_is_left(tmp_path):
    machine = Machine(tmp_path, classes=1)
    with pytest.raises(ActuatorError, match="no class of service"):
        machine.ways.apply(T1, left(0.5))
    machine.originals.end()
    assert not record_file(tmp_path / "originals", "c1").exists()


def test_who_does_not_get_in_costs_the_others_nothing(tmp_path):
    machine = Machine(tmp_path)
    machine.ways.apply(T1, left(0.5))
    machine.kernel.refuses["tasks"] = errno.EPERM
    with pytest.raises(ActuatorError, match="tasks"):
        machine.ways.apply(T2, left(0.25))
    assert (machine.value("L3:0"), machine.inside) == ("3f", {10, 11})


def test_what_the_machine_lacks_is_said(tmp_path):
    originals = Originals(tmp_path / "originals", "c1", MadeUpResctrl(tmp_path / "resctrl", bandwidth=None))
    there = ResctrlClass(originals, "serenity-c1", lambda _task: [], tmp_path / "resctrl", tmp_path)
    missing = ResctrlClass(originals, "serenity-c1", lambda _task: [], tmp_path / "none", tmp_path)
    assert MemoryBandwidth(there, tmp_path).available(T1) == "this processor limits no MB"
    assert CacheWays(missing).available(T1) == f"{tmp_path / 'none'} is not mounted"


@pytest.mark.parametrize(
    ("limit", "file", "text"),
    [
        ("ways", "info/L3/min_cbm_bits", "two\n"),
        ("ways", "schemata", "NPU:0=1\n"),
        ("bandwidth", "info/MB/bandwidth_gran", "ten\n"),
        ("bandwidth", "schemata", "NPU:0=1\n"),
    ],
)
def test_what_this_version_does_not_know_is_no_reason_to_fail(tmp_path, limit, file, text):
    machine = Machine(tmp_path)
    (machine.kernel.root / file).write_text(text)
    with pytest.raises(ActuatorError):
        getattr(machine, limit).apply(T1, left(0.5))
    assert not machine.folder.exists()


def test_another_writer_of_the_class_is_seen(tmp_path):
    machine = Machine(tmp_path)
    machine.ways.apply(T1, left(0.5))
    machine.kernel.write(machine.folder / "schemata", "L3:1=ff0")
    assert machine.ways.look(T1).endswith("schemata L3:1 is ff0")
    machine.kernel.remove(machine.folder)
    assert machine.ways.look(T1).endswith("is gone")
    machine.ways.apply(T1, left(0.5))
    assert machine.inside == {10, 11}


def test_the_class_is_written_down_before_it_is_made(tmp_path):
    machine = Machine(tmp_path, classes=1)
    made = []
    machine.kernel.make = lambda folder: made.append(read_record(record_file(tmp_path / "originals", "c1")).folders)
    machine.originals.make(machine.folder)
    assert made == [(str(machine.folder),)]


@pytest.mark.parametrize(
    ("bits", "usable", "mask"),
    [(3, 0xFFF, 0x7), (3, 0xFF8, 0x38), (2, 0b1011, 0b11), (2, 0b1010, 0), (12, 0xFFF, 0xFFF), (13, 0xFFF, 0)],
)
def test_masks_are_side_by_side_and_as_low_as_possible(bits, usable, mask):
    assert lowest_run(bits, usable) == mask


def test_bits_that_are_taken():
    assert taken("0=SSXX00EE;1=PSSS0000", "0") == 0b11
    assert taken("0=SSXX00EE;1=PSSS0000", "1") == 0b10000000


@pytest.mark.parametrize("line", ["L3:0=5", "L3:0=1", "L3:0=1fff", "L3:7=f", "MB:0=5", "MB:0=200"])
def test_the_made_up_resctrl_refuses_what_the_kernel_does(tmp_path, line):
    kernel = MadeUpResctrl(tmp_path / "resctrl")
    with pytest.raises(OSError, match="Invalid argument"):
        kernel.write(kernel.root / "schemata", line)

"""What is read of the machine as a whole: disks, devices of the network, memory, caches."""

from __future__ import annotations

import math

import pytest

from serenity.qos.sources.draft import Draft, Faults
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.node_usage import NodeUsage, disks, llc_bytes
from serenity.qos.sources.processes import ProcessTable
from tests.manual_clock import ManualClock

DISKSTATS = """\
   7       0 loop0 9 0 0 9 0 0 0 0 0 9 9
 254       0 vda {reads} 0 0 {read_ms} {writes} 0 0 {write_ms} 0 {busy_ms} 9 0 0 0 0 0 0
 254       1 vda1 5 0 0 5 5 0 0 5 0 5 9 0 0 0 0 0 0
 259       0 nvme0n1 100 0 0 0 0 0 0 0 0 0 0
 259       1 nvme0n1p1 5 0 0 5 5 0 0 5 0 5 9
 259       2 nvme0n10 8 0 0 0 0 0 0 0 0 0 0
 253       0 dm-0 5 0 0 5 5 0 0 5 0 5 9
   8       0 sda 7 0 0
"""


def test_the_latency_of_the_slowest_disk(tmp_path):
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 25 kB\n")
    clock, faults = ManualClock(), Faults()
    usage = NodeUsage(clock, faults, KeptFiles(FileBudget()), proc)
    readings = []
    for reads, read_ms, writes, write_ms, busy_ms in (
        (10, 100, 5, 50, 0),
        (12, 140, 7, 130, 500),
        (12, 140, 7, 130, 500),
    ):
        (proc / "diskstats").write_text(
            DISKSTATS.format(reads=reads, read_ms=read_ms, writes=writes, write_ms=write_ms, busy_ms=busy_ms)
        )
        clock.advance(1.0)
        draft = Draft([], lambda: ProcessTable(()))
        usage.read(draft)
        readings.append(draft.readings)
    assert readings[0] == {"mem_total_bytes": 102400, "mem_used_bytes": 76800}
    assert readings[1] == {**readings[0], "disk_latency_ms": 30.0, "disk_busy": 0.5}  # 120 ms for four.
    assert readings[2] == {**readings[0], "disk_busy": 0.0}


def test_traffic_of_interfaces_that_are_devices(tmp_path):
    proc, net = tmp_path / "proc", tmp_path / "net"
    for folder in (proc / "net", net / "eth0/device", net / "eth1/device", net / "veth7"):
        folder.mkdir(parents=True)
    (proc / "meminfo").write_text("")
    (proc / "diskstats").write_text("")
    clock = ManualClock()
    usage = NodeUsage(clock, Faults(), KeptFiles(FileBudget()), proc, net)
    readings = []
    for received, dropped in ((1000, 3), (5000, 5), (4000, 5)):
        lines = [f"{name}: {received} 9 1 {dropped} 0 0 0 0 500 9 0 1 0 0 0 0" for name in ("  lo", "eth0", "veth7")]
        lines.append(f"  eth1:{received} 9 1 {dropped} 0 0 0 0 500 9 0 1 0 0 0 0")
        (proc / "net/dev").write_text("Inter-|\n face |\n" + "\n".join(lines) + "\n")
        clock.advance(2.0)
        draft = Draft([], lambda: ProcessTable(()))
        usage.read(draft)
        readings.append(draft.readings)
    # Two interfaces: 4000 bytes and 2 packets more each in 2 s; then a reset of the one, and no packet lost.
    assert readings == [{}, {"net_bytes": 4000.0, "net_dropped": 2.0}, {"net_dropped": 0.0}]


def test_partitions_and_what_is_no_disk_are_left_out():
    text = DISKSTATS.format(reads=1, read_ms=2, writes=3, write_ms=4, busy_ms=5).encode()
    assert disks(text) == [("vda", 4, 6, 5), ("nvme0n1", 100, 0, 0), ("nvme0n10", 8, 0, 0)]


def test_caches_are_counted_once(tmp_path):
    for cpu, shared in (("cpu0", "0-1"), ("cpu1", "0-1"), ("cpu2", "2")):
        for index, (level, size) in enumerate((("1", "32K"), ("3", "2048K"))):
            folder = tmp_path / cpu / f"cache/index{index}"
            folder.mkdir(parents=True)
            for name, text in (("level", level), ("size", size), ("shared_cpu_list", shared)):
                (folder / name).write_text(text + "\n")
    assert llc_bytes(tmp_path) == 2 * 2048 * 1024
    assert math.isnan(llc_bytes(tmp_path / "none"))


@pytest.mark.parametrize("missing", ["size", "level", "shared_cpu_list"])
def test_caches_whose_size_the_firmware_does_not_tell(tmp_path, missing):
    """As the kernel leaves it out in many virtual machines; the sampler is made all the same."""
    for cpu, told in (("cpu0", {"level": "3", "size": "2048K", "shared_cpu_list": "0"}), ("cpu1", {})):
        folder = tmp_path / cpu / "cache/index0"
        folder.mkdir(parents=True)
        for name, text in ({"level": "3", "size": "1K", "shared_cpu_list": "1"} | told).items():
            if cpu == "cpu0" or name != missing:
                (folder / name).write_text(text + "\n")
    assert math.isnan(llc_bytes(tmp_path))

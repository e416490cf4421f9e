"""Less from and to disks: a real one where this machine has cgroups for it, and both kernels' files made up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serenity.executor.corrections.actuators import ActuatorError, Allowance, Target
from serenity.executor.corrections.actuators.io_limit import IoLimit, parsed_io_stat, parsed_service_bytes
from serenity.executor.corrections.originals import Originals
from tests.executor.actuators.made_up_kernel import MadeUpKernel, cgroup_v2
from tests.polling import eventually

HALF = Allowance(0.5, 1.0)
# Reads the file past the page cache, over and over, and writes down after each MiB.
READER = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
page = mmap.mmap(-1, 65536)
count = 0
while True:
    if os.preadv(file, [page], count % 16 * 65536) == 0: sys.exit('short')
    count += 1
    if count % 16 == 0: print(count // 16, flush=True)
"""


@pytest.fixture
def v2(tmp_path):
    made = cgroup_v2(tmp_path / "t1")
    (tmp_path / "t1/io.stat").write_text(
        "8:0 rbytes=3000000 wbytes=1000000 rios=9 wios=9 dbytes=0 dios=0\n8:16 rbytes=0 wbytes=0 rios=0 wios=0\n"
    )
    return made


def test_each_way_of_a_device_keeps_its_share_on_v2(tmp_path, v2):
    limit = IoLimit(Originals(tmp_path / "originals", "c1", MadeUpKernel()))
    target = Target("t1", v2, {"io_bytes": 8e6})
    assert limit.available(target) is None
    assert limit.apply(target, HALF) == "8:0 read 3.00 MB/s, 8:0 write 1.00 MB/s"
    assert (tmp_path / "t1/io.max").read_text() == "8:0 rbps=3000000 wbps=1000000 riops=max wiops=max\n"
    # Of what it used before, not of what it is left.
    limit.apply(Target("t1", v2, {"io_bytes": 4e6}), Allowance(0.25, 1.0))
    assert (tmp_path / "t1/io.max").read_text() == "8:0 rbps=1500000 wbps=500000 riops=max wiops=max\n"
    limit.undo(target)
    assert (tmp_path / "t1/io.max").read_text() == ""


def test_limits_of_others_stay(tmp_path, v2):
    (tmp_path / "t1/io.max").write_text("8:0 rbps=max wbps=max riops=120 wiops=max\n")
    limit, target = (
        IoLimit(Originals(tmp_path / "originals", "c1", MadeUpKernel())),
        Target("t1", v2, {"io_bytes": 8e6}),
    )
    limit.apply(target, HALF)
    assert limit.look(target) is None
    limit.undo(target)
    assert (tmp_path / "t1/io.max").read_text() == "8:0 rbps=max wbps=max riops=120 wiops=max\n"


def test_little_enough_to_live_is_always_left(tmp_path, v2):
    limit = IoLimit(Originals(tmp_path / "originals", "c1", MadeUpKernel()))
    limit.apply(Target("t1", v2, {"io_bytes": 1000.0}), HALF)
    assert (tmp_path / "t1/io.max").read_text() == "8:0 rbps=65536 wbps=65536 riops=max wiops=max\n"


@pytest.mark.parametrize(
    ("measured", "stat", "why"),
    [
        ({}, None, "was not measured"),
        ({"io_bytes": float("nan")}, None, "was not measured"),
        ({"io_bytes": 1e6}, "8:0 rbytes=0 wbytes=0\n", "has used no device"),
    ],
)
def test_why_there_is_no_limit(tmp_path, v2, measured, stat, why):
    if stat is not None:
        (tmp_path / "t1/io.stat").write_text(stat)
    with pytest.raises(ActuatorError, match=why):
        IoLimit(Originals(tmp_path / "originals", "c1", MadeUpKernel())).apply(Target("t1", v2, measured), HALF)


def test_what_kernels_count_by_device():
    v1 = "8:0 Read 4096\n8:0 Write 0\n8:0 Sync 4096\n8:0 Total 4096\n8:16 Read 0\n8:16 Write 0\nTotal 4096\n"
    assert parsed_service_bytes(v1) == {("8:0", "read"): 4096, ("8:0", "write"): 0}
    assert parsed_io_stat("8:0 rbytes=1 wbytes=2 rios=1\n8:16 \n") == {("8:0", "read"): 1, ("8:0", "write"): 2}


@pytest.mark.root
def test_a_real_reader_slows_down_and_recovers(burner, cgroup, originals, tmp_path):
    limit = IoLimit(originals)
    if limit.available(Target("t1", cgroup)) is not None:
        pytest.skip(limit.available(Target("t1", cgroup)))
    file = tmp_path / "data"
    file.write_bytes(os.urandom(1 << 20))
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
    reader = subprocess.Popen([sys.executable, "-S", "-c", READER, str(file)], stdout=subprocess.PIPE)
    try:
        for each in cgroup.procs_files:
            Path(each).write_text(str(reader.pid))
        if _mib_read(reader, 0.2) == 0:
            pytest.skip("this file system reads nothing past the page cache")
        target = Target("t1", cgroup, {"io_bytes": 4e6})
        said = limit.apply(target, HALF)
        assert "read " in said and said.count("MB/s") >= 2
        _mib_read(reader, 0.3)  # What was under way.
        assert _mib_read(reader, 1.0) <= 4
        limit.undo(target)
        assert limit.look(target) is None
        eventually(lambda: _mib_read(reader, 0.3) > 4, "it reads as before")
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def _mib_read(reader, for_s):
    os.set_blocking(reader.stdout.fileno(), False)
    while reader.stdout.read():
        pass
    time.sleep(for_s)
    return len((reader.stdout.read() or b"").split())

"""What is written down before anything is changed, and what becomes of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess

import pytest

from serenity.daemon import lock
from serenity.executor.corrections import originals as originals_module
from serenity.executor.corrections.actuators import ActuatorError
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals, Untrusted, lock_file, read_record, record_file
from tests.executor.actuators.made_up_kernel import MadeUpKernel, cgroup_v2


class Watching(MadeUpKernel):
    """Looks what is on disk at the moment of each write."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.on_disk = []

    def take(self, file, text):
        self.on_disk.append(json.loads(self.file.read_bytes())["changes"])
        super().take(file, text)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "originals"


@pytest.fixture
def kernel(folder):
    return Watching(record_file(folder, "c1"))


@pytest.fixture
def made(folder, kernel):
    return Originals(folder, "c1", kernel, ["/sys/fs/cgroup/cpu"])


@pytest.fixture
def quota(tmp_path):
    cgroup_v2(tmp_path / "t1")
    return Knob(tmp_path / "t1/cpu.max")


def test_the_original_is_on_disk_before_the_value_is_written(made, kernel, quota):
    made.set({quota: "50000 100000"})
    change = {"file": str(quota.file), "key": "", "original": "max 100000", "ours": ["50000 100000"]}
    assert kernel.on_disk == [[change]]
    made.set({quota: "25000 100000"})
    # Killed between the two, either may be in force.
    assert kernel.on_disk[1] == [{**change, "ours": ["50000 100000", "25000 100000"]}]


def test_it_is_synced_with_its_folder_and_nobody_else_may_read_it(made, folder, quota, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(stat.S_ISDIR(os.fstat(file).st_mode)), real(file)))
    made.set({quota: "50000 100000"})
    assert synced == [False, True]
    made.set({quota: "25000 100000"})
    made.restore([quota])
    assert synced == [False, True]  # What was there is on disk; of the rest a power cut leaves nothing to undo.
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(record_file(folder, "c1").stat().st_mode) == 0o600
    assert read_record(record_file(folder, "c1")).cgroup_parents == ("/sys/fs/cgroup/cpu",)


def test_on_a_full_disk_nothing_is_changed_and_what_is_can_be_undone(made, kernel, quota, monkeypatch):
    made.set({quota: "50000 100000"})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run")

    monkeypatch.setattr(originals_module, "replace_file", full)
    with pytest.raises(ActuatorError, match=r"cannot be written down before: No space left on device \(/run\)"):
        made.set({quota: "25000 100000"})
    assert kernel.value(quota) == "50000 100000"
    made.restore([quota])
    assert kernel.value(quota) == "max 100000"


@pytest.mark.root
def test_on_a_really_full_disk(folder, kernel, quota):
    folder.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=False).returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    try:
        made = Originals(folder, "c1", kernel)
        made.begin()
        (folder / "filler").write_bytes(b"x" * os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize)
        with pytest.raises(ActuatorError, match="No space left on device"):
            made.set({quota: "50000 100000"})
        assert kernel.value(quota) == "max 100000"
        (folder / "filler").unlink()
        made.set({quota: "50000 100000"})
        made.restore([quota])
        made.end()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_value_that_is_written_in_another_way_than_known_is_refused(made, quota, tmp_path):
    (tmp_path / "schemata").write_text("L3:0=fff;1=fff\n")
    with pytest.raises(ActuatorError, match="not written as this version knows it"):
        made.set({Knob(tmp_path / "schemata", "L3:7"): "f"})


def test_only_what_is_still_ours_is_put_back(made, kernel, quota):
    made.set({quota: "50000 100000"})
    kernel.write(quota.file, "70000 100000")
    assert made.foreign(quota) == "70000 100000"
    made.restore([quota])
    assert kernel.value(quota) == "70000 100000"
    made.end()


def test_what_another_writer_set_in_between_is_what_he_gets_back(made, kernel, quota):
    made.set({quota: "50000 100000"})
    kernel.write(quota.file, "70000 100000")
    made.set({quota: "50000 100000"})
    made.restore([quota])
    assert kernel.value(quota) == "70000 100000"


def test_of_several_values_one_that_is_refused_leaves_none(made, kernel, quota, tmp_path):
    cpus = Knob(tmp_path / "t1/cpuset.cpus")
    kernel.refuses["cpuset.cpus"] = errno.EINVAL
    with pytest.raises(ActuatorError, match="Invalid argument"):
        made.set({quota: "50000 100000", cpus: "0-1"})
    assert kernel.value(quota) == "max 100000"


def test_a_removed_cgroup_needs_no_undoing(made, folder, quota):
    made.set({quota: "50000 100000"})
    for each in quota.file.parent.iterdir():
        each.unlink()
    quota.file.parent.rmdir()
    assert made.foreign(quota) is None
    made.restore([quota])
    made.end()
    assert list(folder.iterdir()) == []


def test_what_could_not_be_undone_stays_written_down(made, kernel, folder, quota):
    made.set({quota: "50000 100000"})
    kernel.refuses["cpu.max"] = errno.EIO
    with pytest.raises(ActuatorError):
        made.restore([quota])
    made.end()
    assert [each.original for each in read_record(record_file(folder, "c1")).changes] == ["max 100000"]


def test_without_a_folder_nothing_is_set_until_there_is_one(tmp_path, kernel, quota):
    (tmp_path / "file").write_text("")
    made = Originals(tmp_path / "file/originals", "c1", MadeUpKernel())
    with pytest.raises(OSError):
        made.begin()
    with pytest.raises(ActuatorError, match="cannot be written down"):
        made.set({quota: "50000 100000"})
    (tmp_path / "file").unlink()
    made.set({quota: "50000 100000"})


def test_whoever_cleans_up_run_directories_does_not_end_it(made, kernel, folder, quota):
    made.set({quota: "50000 100000"})
    shutil.rmtree(folder)
    made.set({quota: "25000 100000"})
    assert lock.is_held(lock_file(folder, "c1"))
    made.restore([quota])
    assert kernel.value(quota) == "max 100000"


@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_others_could_have_written_is_not_read(made, folder, quota, which):
    made.set({quota: "50000 100000"})
    (record_file(folder, "c1") if which == "file" else folder).chmod(0o777)
    with pytest.raises(Untrusted, match="can be written by others"):
        read_record(record_file(folder, "c1"))

"""Locks on files: one holder, and none once that has ended."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from serenity.daemon.lock import FileLock, Taken, is_held
from tests.file_size import no_file_grows_beyond


def test_a_lock_ends_with_its_process(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom serenity.daemon.lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1]))\nprint('locked', flush=True)\ntime.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(Taken, match=str(holder.pid)):
        FileLock(tmp_path / "lock")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    FileLock(tmp_path / "lock").release()


def test_a_lock_that_ends_between_another_s_open_and_lock_is_not_shared(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    first = FileLock(path)
    flock = fcntl.flock

    def flock_late(file, how):
        monkeypatch.undo()
        first.release()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    second = FileLock(path)
    with pytest.raises(Taken):
        FileLock(path)
    second.release()
    assert not path.exists()


def test_others_can_look_whether_it_is_held(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(FileNotFoundError):
        is_held(path)
    lock = FileLock(path)
    assert is_held(path) and lock.in_place
    path.unlink()
    assert not lock.in_place
    path.write_text("1\n")
    assert not is_held(path) and not lock.in_place


def test_where_not_a_byte_can_be_written_it_is_held_all_the_same(tmp_path):
    """As on a full disk, where an empty file can be made yet."""
    path = tmp_path / "lock"
    with no_file_grows_beyond(0):
        lock = FileLock(path)
    assert path.read_bytes() == b"" and is_held(path)
    with pytest.raises(Taken, match=r"process \? holds .*lock"):
        FileLock(path)
    lock.release()


def test_a_lock_that_cannot_be_had_names_its_file(tmp_path, monkeypatch):
    """As on a file system that knows no locks."""

    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(OSError) as caught:
        FileLock(tmp_path / "lock")
    assert caught.value.filename == str(tmp_path / "lock")

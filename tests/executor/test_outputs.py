"""A task's stdout and stderr, beyond what is kept of them."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from serenity.executor.tasks import outputs
from serenity.executor.tasks.outputs import OutputFile
from serenity.wire.messages.sandbox import rotated_offset
from tests.polling import eventually

KIB = 1024
LIMIT = 64 * KIB


@pytest.fixture
def file(tmp_path):
    (tmp_path / "stdout").touch()
    return OutputFile(tmp_path, "stdout", LIMIT)


def append(folder, data):
    with (folder / "stdout").open("ab") as file:
        file.write(data)


def numbered(begin, end):
    return b"".join(b"%07d\n" % each for each in range(begin, end))


def kept(folder):
    """Where what is kept of the output begins, and all of it."""
    (before,) = [each for each in folder.iterdir() if rotated_offset("stdout", each.name) is not None]
    return rotated_offset("stdout", before.name), before.read_bytes() + (folder / "stdout").read_bytes()


def collapses(folder):
    """Whether its file system can take the beginning off a file."""
    probe = folder / "probe"
    probe.write_bytes(b"x" * 8 * KIB)
    with probe.open("rb+") as file:
        try:
            return outputs._collapse(file.fileno(), 4 * KIB)
        finally:
            probe.unlink()


@pytest.fixture(params=["collapsed", "emptied"])
def way(request, monkeypatch, tmp_path):
    """How the file is cut: as its file system can, or as any can."""
    if request.param == "emptied":
        monkeypatch.setattr(outputs, "_collapse", lambda _file, _size: False)
    elif not collapses(tmp_path):
        pytest.skip("this file system cannot take the beginning off a file")


def test_a_small_output_is_left_alone(file, tmp_path):
    append(tmp_path, b"x" * LIMIT)
    assert file.rotate_if_large() is False
    assert (tmp_path / "stdout").stat().st_size == LIMIT
    assert [each.name for each in tmp_path.iterdir()] == ["stdout"]


def test_what_is_kept_are_the_last_bytes_and_where_they_began(file, tmp_path, way):
    whole = b""
    for begin in range(0, 200_000, 20_000):
        whole += numbered(begin, begin + 20_000)
        append(tmp_path, numbered(begin, begin + 20_000))
        assert file.rotate_if_large() is True
        start, text = kept(tmp_path)
        assert text == whole[start:]
        assert LIMIT <= len(text) <= LIMIT + 8 * KIB
    assert len(list(tmp_path.iterdir())) == 2


def test_a_writer_that_never_pauses_loses_nothing(file, tmp_path):
    """A byte lost would put all that follows at a place in the whole output where it does not belong."""
    if not collapses(tmp_path):
        pytest.skip("this file system cannot take the beginning off a file")
    code = (
        "import os, sys\nfile = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n"
        "for each in range(300_000): os.write(file, b'%07d\\n' % each)"
    )
    rotations = 0
    with subprocess.Popen([sys.executable, "-S", "-c", code, str(tmp_path / "stdout")]) as writer:
        while writer.poll() is None:
            if file.rotate_if_large():
                rotations += 1
                start, text = kept(tmp_path)
                assert text == numbered(start // 8, (start + len(text)) // 8)
    start, text = kept(tmp_path)
    assert start + len(text) == 300_000 * 8
    assert rotations > 3


def test_what_is_put_in_its_place_is_not_followed(file, tmp_path):
    """The folder is the task's: a link to somebody else's file would have us cut that."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"x" * 4 * LIMIT)
    (tmp_path / "stdout").unlink()
    (tmp_path / "stdout").symlink_to(precious)
    assert file.rotate_if_large() is False
    (tmp_path / "stdout").unlink()
    os.link(precious, tmp_path / "stdout")
    assert file.rotate_if_large() is False
    (tmp_path / "stdout").unlink()
    assert file.rotate_if_large() is False
    assert precious.stat().st_size == 4 * LIMIT


def test_a_link_where_the_copy_goes_is_not_followed_either(file, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / ".stdout.rotating").symlink_to(precious)
    append(tmp_path, b"x" * 2 * LIMIT)
    assert file.rotate_if_large() is True
    assert precious.read_bytes() == b"precious"


def test_holes_are_no_reason_to_cut(file, tmp_path):
    """A task that has opened its output anew writes at its own place, and leaves a hole whenever it was cut."""
    os.truncate(tmp_path / "stdout", 100 * LIMIT)
    assert file.rotate_if_large() is False


def test_the_output_of_a_running_task_stays_small(start, agent, open_folder):
    executor = start(open_folder, qos=False, task_output="64K")
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    flood = "i=0; while [ $i -lt 60000 ]; do printf '%07d\\n' $i; i=$((i+1)); done; echo; echo done; sleep 60"
    agent.launch("t1", "sh", "-c", flood, user=user)
    folder = executor.sandbox / "tasks" / "t1"
    eventually(lambda: (folder / "stdout").exists() and b"done" in (folder / "stdout").read_bytes(), "it has written")
    eventually(lambda: (folder / "stdout").stat().st_size <= 64 * KIB, "its output is cut")
    start_byte, text = kept(folder)
    assert start_byte + len(text) == 60_000 * 8 + len("\ndone\n")
    assert text.startswith(b"%07d" % (start_byte // 8))
    assert {each.owner() for each in folder.iterdir()} == {user}
    assert not (folder / "stderr").read_bytes()

"""Files that are replaced as a whole."""

from __future__ import annotations

import os
import stat

import pytest

from serenity.daemon.whole_file import replace_file


@pytest.mark.parametrize("synced", [False, True])
def test_the_new_content_takes_the_place_of_the_old_and_is_for_its_owner_alone(tmp_path, synced):
    file = tmp_path / "c1.json"
    for content in (b"a longer one", b"short"):
        replace_file(file, content, synced=synced)
        assert [each.name for each in tmp_path.iterdir()] == ["c1.json"]
        assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (content, 0o600)


def test_a_disk_that_takes_half_of_it_is_full(tmp_path, monkeypatch):
    file = tmp_path / "c1.json"
    file.write_bytes(b"old")
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, content: real(file, content[: len(content) // 2]))
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"0123456789", synced=True)
    assert file.read_bytes() == b"old"

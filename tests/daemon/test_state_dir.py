from __future__ import annotations

import os
from pathlib import Path

import pytest

from serenity.daemon.state_dir import default_state_dir


def test_root_s_is_the_system_s_and_a_user_s_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state_dir({"XDG_STATE_HOME": "/x"}) == Path("/var/lib/serenity")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_state_dir({"XDG_STATE_HOME": "/x"}) == Path("/x/serenity")
    monkeypatch.setenv("HOME", "/home/a")
    assert default_state_dir({}) == Path("/home/a/.local/state/serenity")
    monkeypatch.delenv("HOME")  # As a service's environment may be,
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # and nobody in the list of users.
    assert default_state_dir({}) == Path("/var/lib/serenity")

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
    monkeypatch.delenv("HOME", raising=False)  # As a service's environment may be: no folder that others can write to.
    assert default_state_dir({}) == Path("~/.local/state/serenity").expanduser()
    assert not default_state_dir({}).is_relative_to("/tmp")

"""The file with the resource provider's id."""

from __future__ import annotations

import pytest

from serenity.daemon.lock import Taken
from serenity.estimator.agent.provider_id import ProviderIdFile


def test_the_id_is_kept_and_locked(tmp_path):
    first = ProviderIdFile(tmp_path / "state", "agent-1")
    assert first.read() is None
    first.write("p-1")
    with pytest.raises(Taken):
        ProviderIdFile(tmp_path / "state", "agent-1")
    other_agent = ProviderIdFile(tmp_path / "state", "agent-2")
    assert other_agent.read() is None
    first.close()
    again = ProviderIdFile(tmp_path / "state", "agent-1")
    assert again.read() == "p-1"
    again.write("p-2")
    assert again.read() == "p-2"
    again.close()
    other_agent.close()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0" * 37, b"", b"p 1", b"p" * 1000])
def test_an_id_that_makes_no_sense_is_set_aside_with_one_line(tmp_path, caplog, content):
    ids = ProviderIdFile(tmp_path, "agent-1")
    (tmp_path / "agent-1.provider").write_bytes(content)
    assert ids.read() is None
    (record,) = caplog.records
    assert record.levelname == "ERROR" and str(tmp_path / "agent-1.provider.broken") in record.getMessage()
    assert (tmp_path / "agent-1.provider.broken").read_bytes() == content
    assert ids.read() is None and len(caplog.records) == 1
    ids.write("p-1")
    assert ids.read() == "p-1"
    ids.close()

"""The tokens' file: secrets that are nowhere on disk, and what somebody else has changed."""

from __future__ import annotations

import stat

import msgspec
import pytest

from serenity.framework.api.refusals import Conflict, NotFound, Unacceptable, Unkept
from serenity.framework.api.token_file import TokenFile
from serenity.wire.messages.tokens import TokenRequest
from serenity.wire.transport.trust_files import UnusableFile
from tests.file_size import no_file_grows_beyond
from tests.manual_clock import ManualClock

ALICE = "serenity-alice"


@pytest.fixture
def kept(tmp_path):
    return TokenFile(tmp_path / "deep" / "tokens.json", ManualClock(1000.0))


def test_a_token_is_found_by_its_secret_which_is_nowhere_on_disk(kept, tmp_path):
    new = kept.create(TokenRequest(name="ci", users=(ALICE,)), "root")
    assert kept.find(new.secret) == new.token == kept.tokens()[0]
    assert kept.find(new.secret[:-1]) is None and kept.find("") is None
    path = tmp_path / "deep" / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and new.secret.removeprefix("serenity_") not in path.read_text()
    assert len(new.secret) >= 43
    assert TokenFile(path, ManualClock()).find(new.secret) == new.token, "after a restart"


def test_a_revoked_token_counts_no_more_by_its_name_or_id(kept):
    for key in ("id", "name"):
        new = kept.create(TokenRequest(name="ci"), "root")
        assert kept.revoke(getattr(new.token, key), "root") == new.token
        assert kept.find(new.secret) is None and kept.tokens() == ()
    with pytest.raises(NotFound, match="token list"):
        kept.revoke("ci", "root")


def test_where_no_token_can_be_kept_it_is_said_and_nothing_is_left_behind(kept, tmp_path):
    assert Unkept.status == 503
    new = kept.create(TokenRequest(name="old"), "root")
    before = sorted((tmp_path / "deep").iterdir())
    with no_file_grows_beyond(10):
        for change in (lambda: kept.create(TokenRequest(name="ci"), "root"), lambda: kept.revoke("old", "root")):
            with pytest.raises(Unkept, match=r"^the tokens cannot be kept in /\S+/tokens\.json: File too large$"):
                change()
    assert sorted((tmp_path / "deep").iterdir()) == before
    assert kept.tokens() == (new.token,) and kept.find(new.secret) == new.token
    kept.create(TokenRequest(name="ci"), "root")


def test_a_folder_that_cannot_be_made_keeps_no_token(kept, tmp_path):
    (tmp_path / "deep").write_text("a file")
    with pytest.raises(Unkept, match="File exists"):
        kept.create(TokenRequest(name="ci"), "root")


def test_two_tokens_of_one_name_would_own_each_other_s_jobs(kept):
    kept.create(TokenRequest(name="ci"), "root")
    with pytest.raises(Conflict, match="'ci'"):
        kept.create(TokenRequest(name="ci"), "root")


@pytest.mark.parametrize("users", [("root",), ("daemon",), (ALICE, "bin")])
def test_system_users_are_refused(kept, users):
    with pytest.raises(Unacceptable, match="system user"):
        kept.create(TokenRequest(name="ci", users=users), "root")


@pytest.mark.parametrize("user", ["", "0", "+1", "a b", "Ä", "x" * 40, "-x", "../x"])
def test_what_is_no_name_of_a_user_is_none(user):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "ci", "users": [user]}, TokenRequest)


def test_a_file_that_another_instance_has_changed_is_read_again(kept, tmp_path):
    path = tmp_path / "deep" / "tokens.json"
    other = TokenFile(path, ManualClock())
    new = other.create(TokenRequest(name="ci"), "root")
    assert kept.find(new.secret) == new.token
    other.revoke("ci", "root")
    assert kept.find(new.secret) is None


def test_a_file_that_is_broken_while_it_runs_changes_nothing_and_is_said(kept, tmp_path, caplog):
    new = kept.create(TokenRequest(name="ci"), "root")
    path = tmp_path / "deep" / "tokens.json"
    path.write_text("{")
    assert kept.find(new.secret) == new.token and kept.find(new.secret) == new.token
    assert len(caplog.records) == 1 and str(path) in caplog.text


def test_a_file_that_cannot_be_used_is_refused_at_the_start(tmp_path):
    path = tmp_path / "tokens.json"
    path.write_text('{"version": 1, "tokens": []}')
    path.chmod(0o644)
    with pytest.raises(UnusableFile, match="chmod 600"):
        TokenFile(path, ManualClock())
    path.chmod(0o600)
    assert TokenFile(path, ManualClock()).tokens() == ()
    path.write_text("[]")
    with pytest.raises(UnusableFile, match="no file of tokens"):
        TokenFile(path, ManualClock())

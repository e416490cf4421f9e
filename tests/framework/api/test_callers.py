"""Who may what, by the uid of a Unix socket's peer and by what a token says."""

from __future__ import annotations

import pwd

import pytest

from serenity.framework.api.callers import Caller, by_socket, by_token
from serenity.framework.api.refusals import Forbidden, Unacceptable
from serenity.wire.messages import api
from serenity.wire.messages.tokens import Role, Token

# Whom nobody made: names are looked up on this machine, and these are on none.
ALICE, BOB = "serenity-alice", "serenity-bob"


def job(owner):
    request = api.JobRequest(command=("true",))
    return api.Job(id="j1", name="n", state="running", request=request, counts={}, submitted_at=0.0, owner=owner)


def token(role=Role.SUBMIT, *users):
    return Token(id="1", name="ci", role=role, users=users, created_at=0.0, created_by="root")


def test_root_and_whoever_runs_the_framework_may_everything_and_choose_any_user():
    for uid in (0, 1234):
        caller = by_socket(uid, own_uid=1234)
        assert (caller.role, caller.runs_as(None), caller.runs_as("daemon")) == (Role.ADMIN, None, "daemon")


def test_a_system_user_only_reads():
    daemon = pwd.getpwnam("daemon").pw_uid
    for uid in (daemon, 65534, 54321):  # The last one has no name.
        assert by_socket(uid, own_uid=0).role is Role.READ


def test_a_user_submits_as_himself_alone(monkeypatch):
    entry = pwd.struct_passwd((ALICE, "x", 1001, 1001, "", "/", "/bin/sh"))
    monkeypatch.setattr("pwd.getpwuid", lambda uid: entry)
    caller = by_socket(1001, own_uid=0)
    assert (caller.name, caller.role, caller.runs_as(None)) == (ALICE, Role.SUBMIT, ALICE)
    with pytest.raises(Forbidden, match=f"as {ALICE}, and not as 'root'"):
        caller.runs_as("root")


def test_a_token_says_whom_its_jobs_run_as():
    assert by_token(token(Role.SUBMIT, ALICE)).runs_as(None) == ALICE
    several = by_token(token(Role.ADMIN, ALICE, BOB))
    assert several.runs_as(BOB) == BOB
    with pytest.raises(Unacceptable, match="say which"):
        several.runs_as(None)
    for user in ("root", "daemon", "carol"):
        with pytest.raises(Forbidden, match=user):
            several.runs_as(user)
    with pytest.raises(Forbidden, match="lists no users"):
        by_token(token(Role.ADMIN)).runs_as(None)


def test_a_listed_user_who_has_become_a_system_user_is_refused():
    with pytest.raises(Forbidden, match="system user"):
        by_token(token(Role.SUBMIT, "daemon")).runs_as("daemon")


def test_a_role_may_what_those_below_it_may():
    for i, role in enumerate(Role):
        caller = Caller("x", role, ())
        for j, needed in enumerate(Role):
            if j <= i:
                caller.require(needed)
            else:
                with pytest.raises(Forbidden, match=f"takes {needed}"):
                    caller.require(needed)


def test_only_its_owner_and_admins_have_a_job_in_hand():
    Caller("alice", Role.SUBMIT, ()).require_owner(job("alice"))
    Caller("eve", Role.ADMIN, ()).require_owner(job("alice"))
    Caller("eve", Role.ADMIN, ()).require_owner(job(None))
    for owner in ("alice", "token:eve", None):
        with pytest.raises(Forbidden, match="nor an admin"):
            Caller("eve", Role.SUBMIT, ()).require_owner(job(owner))

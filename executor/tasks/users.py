"""Whom a task runs as.

| executor | the job asks for | it runs as                                                                  |
|----------|------------------|-----------------------------------------------------------------------------|
| root     | somebody         | that user, with all its groups; root itself only with ``allow_root``        |
| root     | nobody           | `[executor] task_user`; without that, root, and so only with ``allow_root`` |
| not root | nobody           | the executor's user                                                         |
| not root | somebody         | that user, if it is the executor's                                          |
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from serenity.wire.messages.reasons import Reason

_ALLOW = "or, on the agents, let all jobs with allow_root = true in [executor]"


class UnusableUser(Exception):  # noqa: N818 - reads as what it says
    """`reason` says whose fault that is; the text is for the job's owner, with the next step."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class User:
    name: str
    home: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def user_of(asked: str | None, task_user: str | None, allow_root: bool) -> User | None:
    """None: the executor's own, as which it runs already.

    Raises:
        UnusableUser
    """
    name = asked if asked is not None else task_user
    as_root = os.geteuid() == 0
    if name is None:
        if as_root and not allow_root:
            raise UnusableUser(
                Reason.LAUNCH_REFUSED,
                "the job names no user, and the executor is root: submit it with --user NAME, "
                f"name one for all such jobs with task_user in [executor], {_ALLOW}",
            )
        return None
    unusable = Reason.LAUNCH_FAILED if asked is not None else Reason.LAUNCH_REFUSED
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a NUL in it.
        raise UnusableUser(unusable, f"no user {name} on this agent") from None
    if entry.pw_uid == 0 and not allow_root:
        raise UnusableUser(
            Reason.LAUNCH_REFUSED, f"no job runs as {name} here: submit it with another --user, {_ALLOW}"
        )
    if as_root:
        groups = tuple(os.getgrouplist(name, entry.pw_gid))
        return User(name, entry.pw_dir, entry.pw_uid, entry.pw_gid, groups)
    if entry.pw_uid != os.geteuid():
        raise UnusableUser(unusable, f"the executor on this agent is not root, and cannot run a task as {name}")
    return None

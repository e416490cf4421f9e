"""Who calls the API, and what the caller may do: over the Unix socket by its user, with a token by what that says."""

from __future__ import annotations

import pwd
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from serenity.framework.api.refusals import Forbidden, Unacceptable
from serenity.wire.messages import api
from serenity.wire.messages.tokens import Role, Token

# Debian's and Red Hat's first ordinary uid; and the one that the kernel shows for uids outside this user namespace.
_FIRST_USER = 1000
_NOBODY = 65534
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may call.

    Attributes:
        name: the owner of its jobs: a user's name, or ``token:NAME``.
        role: what is allowed.
        users: as which users its jobs may run; None: any that the agents allow, as for the user who runs the framework.
    """

    name: str
    role: Role
    users: tuple[str, ...] | None

    @property
    def operator(self) -> bool:
        """Root, or the user who runs the framework, on its own machine."""
        return self.users is None

    def require(self, role: Role) -> None:
        """Raises Forbidden."""
        if not self.role.may(role):
            raise Forbidden(f"{self.name} has the role {self.role}, and this takes {role}")

    def owns(self, job: api.Job) -> bool:
        """Whether this caller is the job's owner, or an admin."""
        return job.owner == self.name or self.role.may(Role.ADMIN)

    def shown(self, job: api.Job) -> api.Job:
        """The job as this caller may see it: variables hold secrets, which are none of others' business."""
        if self.owns(job) or not job.request.env:
            return job
        hidden = msgspec.structs.replace(job.request, env=dict.fromkeys(job.request.env, HIDDEN))
        return msgspec.structs.replace(job, request=hidden)

    def require_owner(self, job: api.Job) -> None:
        """Raises Forbidden unless this caller owns the job."""
        if not self.owns(job):
            whose = f"is {job.owner}'s" if job.owner else "has no owner"
            raise Forbidden(f"job {job.name} ({job.id}) {whose}; {self.name} is neither that nor an admin")

    def runs_as(self, asked: str | None) -> str | None:
        """The user that a job of this caller's runs as.

        Raises:
            Forbidden: the caller's jobs must not run as that user.
            Unacceptable: there are several users to choose from.
        """
        if self.users is None:
            return asked
        if not self.users:
            raise Forbidden(f"{self.name} lists no users, so it can run no jobs; create a token with --user NAME")
        if asked is None and len(self.users) > 1:
            raise Unacceptable(f"user: {self.name} may run jobs as {', '.join(self.users)}; say which with --user")
        user = self.users[0] if asked is None else asked
        if user not in self.users:
            raise Forbidden(f"{self.name} may run jobs as {', '.join(self.users)}, and not as {user!r}")
        if is_system_user(user):  # It may have become one since the token was made.
            raise Forbidden(f"{user!r} is a system user, whom no job runs as")
        return user


def by_socket(uid: int, own_uid: int) -> Caller:
    """The caller with this uid.  Ordinary users submit as themselves, system users read, the operator does all."""
    name = _name_of(uid)
    if uid in (0, own_uid):
        return Caller(name or f"uid {uid}", Role.ADMIN, users=None)
    if name is None or uid < _FIRST_USER or uid == _NOBODY:
        return Caller(name or f"uid {uid}", Role.READ, users=())
    return Caller(name, Role.SUBMIT, users=(name,))


def by_token(token: Token) -> Caller:
    return Caller(f"token:{token.name}", token.role, token.users)


def system_users(names: Sequence[str]) -> list[str]:
    return [each for each in names if is_system_user(each)]


def is_system_user(name: str) -> bool:
    """Root or a daemon's user.  A name that only agents know is none here; on the agent the executor refuses root."""
    if name == "root":
        return True
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        return False
    return uid < _FIRST_USER or uid == _NOBODY


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None

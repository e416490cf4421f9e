"""Bearer tokens: who may ask the framework's API for what, and as whom jobs run.

POST   /v1/tokens            TokenRequest → NewToken (201), the one time that the secret is shown
GET    /v1/tokens            → Tokens
DELETE /v1/tokens/TOKEN      → Token; TOKEN is an id or a name
GET    /v1/me                → Me: who the caller is to the API, with or without a token
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

TokenName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
# Names that Linux's useradd takes; so no numbers, which would be uids.
UserName = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_.-]{0,31}\$?$")]


class Role(enum.StrEnum):
    """Each role also has the rights of the role before it."""

    READ = "read"
    SUBMIT = "submit"  # And kill the caller's own jobs.
    ADMIN = "admin"  # Everybody's jobs, the nodes and the tokens.

    def may(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`users`: the users that jobs submitted with the token may run as; system users are refused."""

    name: TokenName
    role: Role = Role.SUBMIT
    users: Annotated[tuple[UserName, ...], Meta(max_length=100)] = ()


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as lists show it.  Its jobs belong to its name: a new token of the same name takes them over."""

    id: str
    name: str
    role: Role
    users: tuple[str, ...]
    created_at: float  # Seconds since the epoch.
    created_by: str


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest first."""

    tokens: tuple[Token, ...]


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """`secret` is what goes into the Authorization header; it is kept nowhere and cannot be shown again."""

    token: Token
    secret: str


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """`users`: the users that the caller's jobs may run as; None: any that the agents allow."""

    name: str
    role: Role
    users: tuple[str, ...] | None

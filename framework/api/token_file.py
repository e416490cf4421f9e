"""The tokens, in a file for root or the framework's user alone; it holds no secret, but each one's hash.

A secret is 256 random bits, so that its SHA-256 gives nothing away: there is no guessing it, as there is a
password, and a slow hash would only make each request slow.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path

import msgspec

from serenity.daemon.clock import Clock
from serenity.framework.api.callers import system_users
from serenity.framework.api.refusals import Conflict, NotFound, Unacceptable, Unkept
from serenity.wire.messages.tokens import NewToken, Token, TokenRequest
from serenity.wire.transport.trust_files import UnusableFile
from serenity.wire.transport.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)

# By this prefix people, and scanners of repositories, know that they have found a secret.
_PREFIX = "serenity_"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    token: Token
    sha256: str


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    tokens: tuple[_Kept, ...] = ()


class TokenFile:
    """The tokens that count.  A file that has been changed, by another instance or by hand, is read again.

    Raises (construction):
        UnusableFile
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen = _stamp(path)
        self._by_hash = self._read()

    def find(self, secret: str) -> Token | None:
        """The token with that secret."""
        self._look()
        kept = self._by_hash.get(_hash(secret))
        return kept.token if kept is not None else None

    def tokens(self) -> tuple[Token, ...]:
        self._look()
        return tuple(sorted((each.token for each in self._by_hash.values()), key=lambda each: each.created_at))

    def create(self, request: TokenRequest, created_by: str) -> NewToken:
        """Raises Conflict, Unacceptable, or Unkept."""
        self._look()
        if any(each.token.name == request.name for each in self._by_hash.values()):
            raise Conflict(f"there is a token {request.name!r} already; revoke it first, or choose another name")
        if system := system_users(request.users):
            raise Unacceptable(f"users: {', '.join(system)}: a system user, whom no job runs as; name an ordinary one")
        secret = _PREFIX + secrets.token_urlsafe(32)
        token = Token(
            id=secrets.token_hex(4),
            name=request.name,
            role=request.role,
            users=request.users,
            created_at=self._clock.now_s(),
            created_by=created_by,
        )
        self._keep({**self._by_hash, _hash(secret): _Kept(token=token, sha256=_hash(secret))})
        logger.info("%s has created the token %s (%s), %s", created_by, token.name, token.id, token.role)
        return NewToken(token=token, secret=secret)

    def revoke(self, id_or_name: str, revoked_by: str) -> Token:
        """The token is of no use from the next request on.  Raises NotFound or Unkept."""
        self._look()
        for key, kept in self._by_hash.items():
            if id_or_name in (kept.token.id, kept.token.name):
                self._keep({other: each for other, each in self._by_hash.items() if other != key})
                logger.info("%s has revoked the token %s (%s)", revoked_by, kept.token.name, kept.token.id)
                return kept.token
        raise NotFound(f"there is no token {id_or_name!r}; `serenity token list` shows all there are")

    def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._by_hash = self._read()
        except UnusableFile as error:
            logger.error("%s; the tokens of before count until it is mended", error)

    def _read(self) -> dict[str, _Kept]:
        try:
            with self._path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise UnusableFile(
                        f"tokens_file: {self._path} is open to others than its owner (mode {mode:04o}); chmod 600 it"
                    )
                content = msgspec.json.decode(file.read(), type=_Content)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UnusableFile(f"tokens_file: cannot read {self._path}: {error.strerror}") from error
        except UNDECODABLE as error:
            raise UnusableFile(f"tokens_file: {self._path} is no file of tokens: {error}") from error
        return {each.sha256: each for each in content.tokens}

    def _keep(self, by_hash: dict[str, _Kept]) -> None:
        """Raises Unkept, and then all is as it was."""
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        content = msgspec.json.format(msgspec.json.encode(_Content(tokens=tuple(by_hash.values()))), indent=1)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(content + b"\n")
                out.flush()
                os.fsync(out.fileno())
            new.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            raise Unkept(f"the tokens cannot be kept in {self._path}: {error.strerror}") from error
        self._seen, self._by_hash = _stamp(self._path), by_hash


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Another stamp when the file is another one; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size

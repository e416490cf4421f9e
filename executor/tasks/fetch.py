"""Fetches what a task wants to find in its sandbox, in the process that becomes the task's command.

So it is done as the task's user, in the task's cgroup, within its limits, and is ended as the task is.
With the standard library alone, by `child`; whatever is imported later must be importable by the task's user,
and so is imported here.  Nothing is written through a link, nor outside of the sandbox.
"""

from __future__ import annotations

import base64
import bz2 as _bz2  # noqa: F401 - wanted later, by tarfile and zipfile
import contextlib
import encodings.idna as _idna  # noqa: F401 - by socket
import errno
import gzip
import hashlib
import http.client
import lzma
import os
import posixpath
import signal
import ssl as _ssl  # noqa: F401 - by http.client
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

_CHUNK_BYTES = 256 * 1024
_SILENCE_S = 60.0
# With these a server speaks of itself, or of this moment; with every other 4xx, of what was asked for.
_SERVER_S = frozenset({408, 425, 429})
_MOST_ENTRIES = 1_000_000
_LINK_BYTES = 4096
# This agent lacks something that another agent may have, or this agent later.
_AGENT_LACKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})


class FetchError(Exception):
    """`elsewhere`: the fetch may well work on another agent, or later; else what was asked for cannot be had."""

    def __init__(self, shown: str, text: str, elsewhere: bool = False) -> None:
        super().__init__(text)
        self.shown = shown
        self.text = text
        self.elsewhere = elsewhere


@dataclass
class Budget:
    """What may still be written, of all that a task fetches; `limit_bytes` is for the message."""

    limit_bytes: int
    left_bytes: int

    def spend(self, size: int) -> None:
        self.left_bytes -= size
        if self.left_bytes < 0:
            raise ValueError(f"more than the {self.limit_bytes} bytes that the task may have in its sandbox")


def fetch_all(uris: list[dict[str, Any]], limit_bytes: int, timeout_s: float) -> None:
    """Into the current directory.  `uris`: as `wire.messages.uris.Uri`, with ``shown``, ``file_name``, ``is_archive``.

    Raises:
        FetchError
    """
    budget = Budget(limit_bytes, limit_bytes)
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        for uri in uris:
            with _said(uri["shown"], timeout_s):
                _fetch(uri, top, budget)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.close(top)


class _TooLong(Exception):  # noqa: N818 - reads as what it says
    """Derived from no timeout exception, lest a library takes it for its own time limit."""


def _too_long(*_: object) -> None:
    raise _TooLong


@contextlib.contextmanager
def _said(shown: str, timeout_s: float) -> Iterator[None]:
    """Turns whatever may go wrong into a FetchError."""
    try:
        yield
    except _TooLong:
        raise FetchError(shown, f"not there within {timeout_s:.0f} s", elsewhere=True) from None
    except urllib.error.HTTPError as error:
        elsewhere = error.code >= 500 or error.code in _SERVER_S
        raise FetchError(shown, f"HTTP {error.code} {error.reason}", elsewhere) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise FetchError(shown, str(reason), elsewhere=True) from error
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise FetchError(shown, f"no archive that can be unpacked: {error}") from error
    except OSError as error:
        raise FetchError(shown, error.strerror or str(error), error.errno in _AGENT_LACKS) from error
    except (ValueError, NotImplementedError, RuntimeError) as error:  # The last two: of zipfile, such as a password.
        raise FetchError(shown, str(error)) from error


def _fetch(uri: dict[str, Any], top: int, budget: Budget) -> None:
    name = uri["file_name"]
    digest = hashlib.sha256()
    with _source(uri["value"]) as source, _new_file(name, 0o755 if uri["executable"] else 0o644, top) as target:
        _copy(source, target, budget, digest.update)
    if uri["sha256"] is not None and digest.hexdigest() != uri["sha256"]:
        raise ValueError(f"its SHA-256 is {digest.hexdigest()}, not {uri['sha256']}")
    if uri["extract"] and uri["is_archive"]:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=top), "rb") as archive:
            size = os.fstat(archive.fileno()).st_size
            os.unlink(name, dir_fd=top)  # It may hold a file of its own name.
            _unpack(archive, zipped=urlsplit(uri["value"]).path.lower().endswith(".zip"), top=top, budget=budget)
        budget.left_bytes += size


# -- where it is -------------------------------------------------------------------------------


def _source(value: str) -> IO[bytes]:
    parts = urlsplit(value)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ValueError("a file is on the agent: write file:///path")
        # A pipe would be waited for, a device be endless.
        file = os.open(unquote(parts.path), os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ValueError("not a regular file")
        return os.fdopen(file, "rb")
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)))
    if at:
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    opener = urllib.request.OpenerDirector()
    for handler in (  # All that urllib has but files and FTP, to which a server might send us.
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    answer: IO[bytes] = opener.open(request, timeout=_SILENCE_S)
    return answer


def _copy(source: IO[bytes], target: IO[bytes], budget: Budget, seen: Callable[[bytes], object] | None = None) -> None:
    while chunk := source.read(_CHUNK_BYTES):
        budget.spend(len(chunk))
        target.write(chunk)
        if seen is not None:
            seen(chunk)
    length = getattr(source, "length", None)
    if length:  # Of an answer over HTTP, what has not come.
        raise ConnectionError(f"cut off, {length} bytes before its end")


# -- archives ----------------------------------------------------------------------------------


@dataclass
class _Entry:
    """`link`: the target of a symbolic link; `same_as`: the entry that this one is a hard link to."""

    name: str
    mode: int
    folder: bool = False
    link: str | None = None
    same_as: str | None = None
    open: Callable[[], IO[bytes]] | None = None


def _unpack(archive: IO[bytes], zipped: bool, top: int, budget: Budget) -> None:
    for count, entry in enumerate(_zip_entries(archive) if zipped else _tar_entries(archive)):
        if count >= _MOST_ENTRIES:
            raise ValueError(f"more than {_MOST_ENTRIES} entries")
        parts = _parts(entry.name)
        if not parts:
            continue  # The folder itself.
        parent = _folder(top, parts[:-1])
        try:
            _put(entry, parts, parent, top, budget)
        finally:
            os.close(parent)


def _put(entry: _Entry, parts: list[str], parent: int, top: int, budget: Budget) -> None:
    name = parts[-1]
    if entry.folder:
        os.close(_subfolder(parent, name))
    elif entry.link is not None:
        if entry.link.startswith("/") or posixpath.normpath("/".join([*parts[:-1], entry.link])).split("/")[0] == "..":
            raise ValueError(f"{entry.name} is a link that leads out of the sandbox, to {entry.link}")
        _make_way(name, parent)
        os.symlink(entry.link, name, dir_fd=parent)
    elif entry.same_as is not None:
        of = _parts(entry.same_as)
        source = _folder(top, of[:-1])
        try:
            _make_way(name, parent)
            os.link(of[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)
    elif entry.open is not None:
        with entry.open() as content, _new_file(name, 0o755 if entry.mode & 0o100 else 0o644, parent) as target:
            _copy(content, target, budget)
    else:
        raise ValueError(f"{entry.name} is a device or a pipe")


def _parts(name: str) -> list[str]:
    if name.startswith("/") or "\0" in name:
        raise ValueError(f"{name!r} leads out of the sandbox")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{name!r} leads out of the sandbox")
    return parts


def _tar_entries(archive: IO[bytes]) -> Iterator[_Entry]:
    with tarfile.open(fileobj=archive, mode="r:*") as tar:
        for member in tar:
            entry = _Entry(member.name, member.mode, folder=member.isdir())
            if member.issym():
                entry.link = member.linkname
            elif member.islnk():
                entry.same_as = member.linkname
            elif member.isreg():
                entry.open = _opener(tar, member)
            yield entry
            tar.members = []  # type: ignore[attr-defined]  # It keeps them all, of which there may be a million.


def _opener(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        content = tar.extractfile(member)
        assert content is not None  # Of a regular file it never is.
        return content

    return opened


def _zip_entries(archive: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            mode = info.external_attr >> 16
            if stat.S_ISLNK(mode):
                if info.file_size > _LINK_BYTES:
                    raise ValueError(f"{info.filename} is a link of {info.file_size} bytes")
                yield _Entry(info.filename, mode, link=zipped.read(info).decode("utf-8", "surrogateescape"))
            else:
                yield _Entry(info.filename, mode, info.is_dir(), open=lambda info=info: zipped.open(info))  # type: ignore[misc]


# -- the sandbox -------------------------------------------------------------------------------


def _folder(top: int, parts: list[str]) -> int:
    """Made if it is not there, and opened."""
    folder = os.dup(top)
    for part in parts:
        try:
            inner = _subfolder(folder, part)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _subfolder(parent: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ValueError(f"{name!r} is used as a folder, and is none") from error
        raise


def _new_file(name: str, mode: int, parent: int) -> IO[bytes]:
    """In the place of what was there."""
    _make_way(name, parent)
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=parent)
    os.fchmod(file, mode)  # Whatever the umask is.
    return os.fdopen(file, "wb")


def _make_way(name: str, parent: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)

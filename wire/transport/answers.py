"""HTTP answers that come one after the other on a connection, to requests that were sent together (pipelining).

The standard library's client insists on reading each answer before it sends the next request, and takes longer to
parse the headers of an answer without a body than to send a call.
"""

from __future__ import annotations

from http.client import HTTPException, IncompleteRead
from typing import BinaryIO

_LINE_BYTES = 65536
_MOST_HEADERS = 100
_BODY_BYTES = 16 * 1024 * 1024


class Answers:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.ended = False  # Whether no further answer follows.

    def next(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body.  Raises OSError or HTTPException."""
        if self.ended:
            raise ConnectionResetError("closed before all was answered")
        version, _, rest = self._line().partition(" ")
        status = rest[:3]
        if not version.startswith("HTTP/1.") or not status.isdecimal():
            raise HTTPException(f"no answer over HTTP: {version} {rest[:80]!r}")
        headers: dict[str, str] = {}
        while line := self._line():
            name, colon, value = line.partition(":")
            if not colon or len(headers) >= _MOST_HEADERS:
                raise HTTPException(f"no header: {line[:80]!r}")
            headers[name.strip().lower()] = value.strip()
        self.ended = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        return int(status), headers, self._body(int(status), headers)

    def _body(self, status: int, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while size := self._size(self._line().partition(";")[0], base=16):
                chunks.append(self._read(size))
                self._line()
            while self._line():
                pass  # Trailers, which we do not need.
            return b"".join(chunks)
        if "content-length" in headers:
            return self._read(self._size(headers["content-length"], base=10))
        if status in (204, 304):
            return b""
        self.ended = True  # The body goes on until the peer closes.
        content = self._file.read(_BODY_BYTES + 1)
        if len(content) > _BODY_BYTES:
            raise HTTPException("a body too long")
        return content

    def _line(self) -> str:
        line = self._file.readline(_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise (
                ConnectionResetError("closed before all was answered") if not line else HTTPException("a line too long")
            )
        return line.rstrip(b"\r\n").decode("latin-1")

    def _read(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) < size:
            raise IncompleteRead(content, size - len(content))
        return content

    @staticmethod
    def _size(text: str, base: int) -> int:
        try:
            size = int(text, base)
        except ValueError:
            size = -1
        if not 0 <= size <= _BODY_BYTES:
            raise HTTPException(f"no size of a body: {text[:40]!r}")
        return size

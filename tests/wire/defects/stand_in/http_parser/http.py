"""The one class that pymesos imports, with the methods it calls, under their names.

It cuts an answer into status, headers and body, and no more: what pymesos does with an answer, or without
one, is its own, and that is what is tested.
"""

from __future__ import annotations


class HttpParser:
    def __init__(self) -> None:
        self._unparsed = b""
        self._status = 0
        self._headers: dict[str, str] | None = None
        self._body = b""
        self._left: int | None = None  # Bytes of the body, or of its chunk, still to come; None: not known.
        self._complete = False
        self._error = 0

    def execute(self, data: bytes, length: int) -> int:
        """Returns how much was taken: all of it, unless it is no HTTP."""
        self._unparsed += data[:length]
        try:
            if self._headers is None and b"\r\n\r\n" in self._unparsed:
                self._take_head()
            if self._headers is not None:
                self._take_body()
        except (ValueError, IndexError):
            self._error = 1
            return 0
        return length

    def _take_head(self) -> None:
        head, _, self._unparsed = self._unparsed.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status = status_line.split()[:2]
        if not version.startswith("HTTP/"):
            raise ValueError(status_line)
        self._status = int(status)
        fields = (line.partition(":") for line in lines)
        self._headers = {name.strip(): value.strip() for name, _, value in fields}
        if not self.is_chunked():
            length = {name.lower(): value for name, value in self._headers.items()}.get("content-length")
            self._left = None if length is None else int(length)

    def _take_body(self) -> None:
        if not self.is_chunked():
            self._take(len(self._unparsed) if self._left is None else self._left)
            self._complete = self._left == 0
            return
        while not self._complete:
            if not self._left:
                size, end_of_line, rest = self._unparsed.removeprefix(b"\r\n").partition(b"\r\n")
                if not end_of_line:
                    return
                self._left, self._unparsed = int(size, 16), rest
                self._complete = self._left == 0
            if not self._take(self._left):
                return

    def _take(self, size: int) -> bool:
        """Moves up to `size` bytes to the body; whether there were any."""
        taken, self._unparsed = self._unparsed[:size], self._unparsed[size:]
        self._body += taken
        if self._left is not None:
            self._left -= len(taken)
        return bool(taken)

    def get_errno(self) -> int:
        return self._error

    def is_headers_complete(self) -> bool:
        return self._headers is not None

    def is_chunked(self) -> bool:
        return any(
            name.lower() == "transfer-encoding" and value.lower() == "chunked"
            for name, value in self.get_headers().items()
        )

    def is_partial_body(self) -> bool:
        return bool(self._body)

    def is_message_complete(self) -> bool:
        return self._complete

    def get_status_code(self) -> int:
        return self._status

    def get_headers(self) -> dict[str, str]:
        return self._headers or {}

    def recv_body(self) -> bytes:
        body, self._body = self._body, b""
        return body

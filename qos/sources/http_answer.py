"""One GET over a connection that is closed afterwards, with a bounded answer; redirects are not followed."""

from __future__ import annotations

import re

from serenity.qos.sources.indicator import Address

MAX_HEAD_BYTES = 16 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


def request(address: Address, path: str, accept: str) -> bytes:
    """The bytes of a GET.  `accept`: the content type that is understood, for the header of that name."""
    host, port = address
    host = f"[{host}]" if ":" in host else host
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{port}",
        f"Accept: {accept}, */*;q=0.1",
        "Accept-Encoding: identity",
        "Connection: close",
        "User-Agent: serenity",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def complete(received: bytearray) -> bool:
    """Whether the answer is known to be whole before the server closes.  Raises ValueError if its head is too long."""
    end = received.find(_END_OF_HEAD)
    if end < 0 or end > MAX_HEAD_BYTES:
        if len(received) > MAX_HEAD_BYTES:
            raise ValueError(f"an HTTP head of more than {MAX_HEAD_BYTES} bytes")
        return False
    body_bytes = len(received) - end - len(_END_OF_HEAD)
    length = _header(received[:end], b"content-length")
    if length is not None:
        return body_bytes >= _number(length)
    # The line end before the 0 belongs to the pattern: the text of a chunk may also end with a 0 and line ends.
    return _header(received[:end], b"transfer-encoding") is not None and received.endswith(b"\r\n0\r\n\r\n")


def body(answer: bytes) -> bytes:
    """The content.  Raises ValueError: it is no HTTP, has another status than 200, or was cut short."""
    head, found, content = answer.partition(_END_OF_HEAD)
    status = _STATUS.match(head)
    if not found or status is None:
        raise ValueError(f"it does not answer by HTTP: {answer[:80]!r}")
    if status[1] != b"200":
        redirects = "; redirects are not followed" if status[1].startswith(b"3") else ""
        raise ValueError(f"it answers with HTTP {status[1].decode()}{redirects}")
    packed = _header(head, b"content-encoding")
    if packed not in (None, b"", b"identity"):
        raise ValueError(f"its content encoding {packed!r:.30} is not understood, and was not asked for")
    coding = _header(head, b"transfer-encoding")
    if coding is not None:
        return _unchunked(content) if coding == b"chunked" else _refuse(coding)
    length = _header(head, b"content-length")
    if length is not None and len(content) < _number(length):
        raise ValueError("its answer was cut short")
    return content


def _unchunked(content: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = content.find(b"\r\n", at)
        size = content[at:end].partition(b";")[0].strip()
        if end < 0 or not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
            raise ValueError("its answer was cut short")
        length = int(size, 16)
        if length == 0:
            return b"".join(parts)
        at = end + 2 + length + 2
        if at > len(content):
            raise ValueError("its answer was cut short")
        parts.append(content[end + 2 : at - 2])


def _header(head: bytes | bytearray, name: bytes) -> bytes | None:
    for line in bytes(head).split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().lower()
    return None


def _number(length: bytes) -> int:
    if not length.isdigit() or len(length) > 12:
        raise ValueError("its Content-Length is no number")
    return int(length)


def _refuse(coding: bytes) -> bytes:
    raise ValueError(f"its transfer encoding {coding[:20]!r} is not understood")

"""The exceptions of decoding input that is no JSON, or not of the expected shape; and what Mesos calls JSON.

msgspec lets two exceptions through that are not its own: for bad UTF-8 in a string, and for input nested too deeply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_mesos(text: bytes, decode: Callable[[bytes], Any] = msgspec.json.decode) -> Any:
    """JSON from Mesos, with U+FFFD for what is no UTF-8.

    Mesos hands names, ids and labels on byte by byte, as any framework gave them.  One in Latin-1 must not hide from
    us whatever else runs on its agent.  Raises as `decode` does.
    """
    try:
        return decode(text)
    except UnicodeDecodeError:
        return decode(text.decode("utf-8", "replace").encode())

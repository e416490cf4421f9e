"""The exceptions of decoding input that is no JSON, or not of the expected shape.

msgspec lets two exceptions through that are not its own: for bad UTF-8 in a string, and for input nested too deeply.
"""

from __future__ import annotations

import msgspec

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

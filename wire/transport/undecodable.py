"""What reading JSON may raise for what is none, or not of the expected shape.

msgspec passes on two exceptions that are none of its own: for bad UTF-8 in a string, and for what is nested too deeply.
"""

from __future__ import annotations

import msgspec

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

"""Job ids: seven characters, unique in a store, and in the order of submission.

The time in 32nds of a second since 2024 in Crockford's base 32 (no i, l, o, u), or the
last id plus one, whichever is greater: a clock that jumps back, or more than 32 jobs a
second, only runs the ids ahead of the time.  Seven digits last until 2058.
"""

from __future__ import annotations

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_WIDTH = 7
_EPOCH_S = 1_704_067_200  # 2024-01-01T00:00:00Z
_TICKS_A_SECOND = 32


def next_id(last: str | None, now_s: float) -> str:
    """The id after `last` (None: there is none).

    Raises:
        ValueError: `last` is no job id.
    """
    ticks = int((now_s - _EPOCH_S) * _TICKS_A_SECOND)
    return _encode(max(ticks, 0 if last is None else _decode(last) + 1))


def _encode(number: int) -> str:
    digits = []
    for _ in range(_WIDTH):
        number, digit = divmod(number, 32)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _decode(text: str) -> int:
    number = 0
    for digit in text:
        number = number * 32 + _DIGITS.index(digit)
    return number

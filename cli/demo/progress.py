"""What the demo says while it runs: one living line on a terminal, plain lines otherwise.  All on stderr."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TextIO

_BAR_CELLS = 24
_PLAIN_EVERY_S = 5.0
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Progress:
    """With `quiet` nothing is printed at all, for `--json`."""

    def __init__(self, stream: TextIO = sys.stderr, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._living = stream.isatty()
        self._line_open = False
        self._last_plain_s = float("-inf")

    def heading(self, text: str) -> None:
        self._last_plain_s = float("-inf")
        self._write(f"\n\x1b[1m{text}\x1b[0m" if self._living else f"\n{text}")

    def say(self, text: str) -> None:
        """A line that stays; on a terminal it is broken between words."""
        width = shutil.get_terminal_size().columns - 1 if self._living else None
        self._write(indented(text, "  ", width))

    def second(self, now_s: float, ops_per_s: float, reference: float | None, p99_ms: float, left_s: float) -> None:
        """Shows the service's last second.  `reference`: the throughput that is 100 %; None while it is not known."""
        share = ops_per_s / reference if reference else 1.0
        percent = f"{share:4.0%}" if reference else "    "
        text = f"{ops_per_s / 1000:6.0f}k ops/s {percent}  p99 {p99_ms:5.0f} ms"
        if self._living and not self._quiet:
            line = f"  {_bar(share)} {text}  {max(0.0, left_s):3.0f} s left"
            self._stream.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
            self._stream.flush()
            self._line_open = True
        elif now_s - self._last_plain_s >= _PLAIN_EVERY_S:
            self._last_plain_s = now_s
            self._write(f"  {text}")

    def done(self) -> None:
        """Ends the living line."""
        if self._line_open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._line_open = False

    def _write(self, text: str) -> None:
        if self._quiet:
            return
        self.done()
        self._stream.write(text + "\n")
        self._stream.flush()


def indented(text: str, indent: str, width: int | None) -> str:
    """`text` behind `indent`, broken at `width`, with further lines a little deeper; None does not break it."""
    if width is None:
        return indent + text
    deeper = indent + "    "
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=deeper, break_long_words=False)


def _bar(share: float) -> str:
    eighths = round(min(1.0, max(0.0, share)) * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR_CELLS, "·")

"""What verbs print: JSON, tables of plain columns, colours on a terminal only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import click
import msgspec

from serenity.wire.mesos.quantities import format_duration

_COLOURS = {
    "running": "green",
    "finished": "bright_black",
    "failed": "red",
    "killed": "magenta",
    "lost": "magenta",
    "killing": "yellow",
    "launching": "cyan",
    "pending": "yellow",
    "unreachable": "yellow",
}
_GAP = "  "
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\ufffd")
del _CONTROLS[ord("\t")], _CONTROLS[ord("\n")]


def print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value))


def words(text: str) -> None:
    """Prints a message for people, to stderr: stdout is for data."""
    click.echo(printable(text), err=True)


def printable(text: str) -> str:
    """`text` of somebody else's, with U+FFFD for what would move a terminal's cursor, or colour or rename it."""
    return text.translate(_CONTROLS)


def colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def styled(text: str, style: str | None) -> str:
    return click.style(text, fg=style) if style and colours() else text


def state_text(state: str, width: int = 0) -> str:
    return styled(state.ljust(width), _COLOURS.get(state))


def faint(text: str) -> str:
    return click.style(text, dim=True) if colours() else text


def bold(text: str) -> str:
    return click.style(text, bold=True) if colours() else text


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset(), whole: bool = False
) -> str:
    """Plain columns, those in `right` flush right; the last column is cut at the terminal's edge, or folded if `whole`.

    The column ``STATE`` is coloured.  Off a terminal nothing is cut or folded.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    if whole:
        rows = [each for row in rows for each in _folded_row(row, _room(widths))]
    lines = [_line(head, head, widths, right, None)]
    lines += [_line(row, head, widths, right, _room(widths)) for row in rows]
    return "\n".join([bold(lines[0]), *lines[1:]])


def _line(
    row: Sequence[str], head: Sequence[str], widths: Sequence[int], right: frozenset[str], room: int | None
) -> str:
    cells = []
    for i, (text, title, width) in enumerate(zip(row, head, widths, strict=True)):
        last = i == len(head) - 1
        if last and room is not None:
            text = shorten(text, max(10, room))
        padded = text.rjust(width) if title in right else text if last else text.ljust(width)
        cells.append(styled(padded, _COLOURS.get(text)) if title == "STATE" else padded)
    return _GAP.join(cells).rstrip()


def _folded_row(row: Sequence[str], room: int | None) -> list[Sequence[str]]:
    """`row` as several rows, its last cell folded to `room` columns."""
    if room is None or len(row[-1]) <= room:
        return [row]
    import textwrap

    first, *more = textwrap.wrap(row[-1], max(10, room))
    return [[*row[:-1], first], *([*("" for _ in row[:-1]), each] for each in more)]


def _room(widths: Sequence[int]) -> int | None:
    """How many characters are left for the last column; None off a terminal."""
    if not sys.stdout.isatty():
        return None
    return terminal_width() - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1)


def terminal_width() -> int:
    """COLUMNS, else the terminal's, else 80.  (shutil knows too, and takes 15 ms to import.)"""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80  # No terminal.


def folded(line: str, indent: int) -> str:
    """A long line, folded at the terminal's edge; off a terminal as it is, for grep."""
    line = printable(line)
    if not sys.stdout.isatty() or len(line) <= terminal_width():
        return line
    import textwrap

    return textwrap.fill(line, terminal_width(), subsequent_indent=" " * indent)


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def ago(at: float | None) -> str:
    return "-" if at is None else format_duration(max(0.0, time.time() - at))


def clock_time(at: float) -> str:
    """``12:03:04`` for a time of today, ``Nov 21 12:03`` for one of another day."""
    then, now = time.localtime(at), time.localtime()
    same_day = then[:3] == now[:3]
    return time.strftime("%H:%M:%S" if same_day else "%b %d %H:%M", then)

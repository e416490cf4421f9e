"""`serenity hints`: production that suffers from somebody whom Serenity cannot correct."""

from __future__ import annotations

import sys

import click
import msgspec

from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.events import follow
from serenity.cli.output import ago, clock_time, faint, folded, print_json, shorten, table, words
from serenity.daemon import exits
from serenity.wire.messages.hints import Hint, Hints

_NAME_COLUMNS = 16


@click.command("hints")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with new ones, until interrupted.")
@json_option
@url_option
def command(following: bool, as_json: bool, url: str | None) -> int:
    """Show noisy neighbours: on which agent, what suffers, and from whom.

    No best-effort executor there runs the suspect, so nobody corrects it; nothing new is launched there meanwhile.
    SEVERITY is the share of its work that the production task loses, from 0, none, to 1, all; where a detector goes by
    a threshold, how far beyond that it is.
    """
    framework = Framework(url)
    hints = framework.get("/v1/hints", Hints).hints
    if not following:
        _print(hints, as_json)
        return exits.OK
    for hint in reversed(hints):
        _line(hint, as_json)
    for event in follow(framework, "/v1/hints/events"):
        if event.body is not None:
            _line(msgspec.convert(event.body, Hint), as_json)
    return exits.OK


def _print(hints: tuple[Hint, ...], as_json: bool) -> None:
    if as_json:
        print_json(hints)
    elif not hints:
        words("no hints: nobody suffers from somebody whom Serenity cannot correct")
    else:
        head = ("AGENT", "KIND", "SEVERITY", "FOR", "PROTECTED", "SUSPECT")
        click.echo(table(head, [_row(each) for each in hints], right=frozenset({"SEVERITY", "FOR"})))


def _row(hint: Hint) -> tuple[str, ...]:
    return (
        shorten(hint.hostname or hint.agent, _NAME_COLUMNS),
        hint.kind or "-",
        "-" if hint.severity is None else f"{hint.severity:.2f}",
        ago(hint.since),
        shorten(hint.protected or "-", _NAME_COLUMNS),
        hint.suspect,
    )


def _line(hint: Hint, as_json: bool) -> None:
    if as_json:
        print_json(hint)
    else:
        where = hint.hostname or hint.agent
        severity = "" if hint.severity is None else f", severity {hint.severity:.2f}"
        text = f"{where}  {hint.protected or 'production'} suffers ({hint.kind or 'unknown'}{severity}): {hint.text}"
        line = folded(f"{clock_time(hint.last_at)}  {text}", indent=10)
        click.echo(faint(line[:8]) + line[8:])
    sys.stdout.flush()

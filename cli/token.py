"""`serenity token`: who may call the framework's API over TCP, and as whom jobs run."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.output import ago, print_json, table, words
from serenity.daemon import exits
from serenity.wire.messages.tokens import NewToken, Role, Token, TokenRequest, Tokens


@click.group("token")
def command() -> None:
    """Tokens for who calls the framework from another machine.  For its operator, and tokens of the role admin."""


@command.command("create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice([each.value for each in Role]), default="submit", show_default=True, help="What it may."
)
@click.option("--user", "users", metavar="USER", multiple=True, help="Whom its jobs may run as; may be repeated.")
@json_option
@url_option
def create(name: str, role: str, users: tuple[str, ...], as_json: bool, url: str | None) -> int:
    """Make a token and print it, this one time.

    Jobs that are submitted with it belong to NAME, and run as USER.
    """
    if Role(role) is not Role.READ and not users:
        words("no --user: it can run no jobs")
    new = Framework(url).post("/v1/tokens", TokenRequest(name=name, role=Role(role), users=users), NewToken)
    if as_json:
        print_json(new)
        return exits.OK
    click.echo(new.secret)
    if sys.stdout.isatty():
        words("keep it: it is not shown again.  Put it into a file of mode 600, and that into token_file of [client]")
    return exits.OK


@command.command("list")
@json_option
@url_option
def list_(as_json: bool, url: str | None) -> int:
    """List tokens; nobody can show their secrets."""
    tokens = Framework(url).get("/v1/tokens", Tokens).tokens
    if as_json:
        print_json(tokens)
    elif not tokens:
        words("no tokens; `serenity token create NAME --user USER` makes one")
    else:
        head = ("ID", "NAME", "ROLE", "AGE", "BY", "USERS")
        click.echo(table(head, [_row(each) for each in tokens], right=frozenset({"AGE"})))
    return exits.OK


@command.command("revoke")
@click.argument("token")
@json_option
@url_option
def revoke(token: str, as_json: bool, url: str | None) -> int:
    """Revoke a token, by id or name.  Its jobs go on."""
    gone = Framework(url).delete(f"/v1/tokens/{quote(token, safe='')}", Token)
    if as_json:
        print_json(gone)
    else:
        words(f"revoked {gone.name} ({gone.id})")
    return exits.OK


def _row(token: Token) -> tuple[str, ...]:
    return token.id, token.name, token.role.value, ago(token.created_at), token.created_by, " ".join(token.users) or "-"

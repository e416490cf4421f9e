"""`serenity completion`: completes verbs, options and jobs in bash, zsh and fish."""

from __future__ import annotations

import click

from serenity.daemon import exits

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> int:
    """Print what makes a shell complete `serenity`.

    \b
    bash: serenity completion bash >~/.local/share/bash-completion/completions/serenity
    zsh:  serenity completion zsh >FOLDER/_serenity, in a FOLDER of fpath
    fish: serenity completion fish >~/.config/fish/completions/serenity.fish
    """
    from click.shell_completion import get_completion_class

    from serenity.cli.main import serenity

    kind = get_completion_class(shell)
    assert kind is not None, "click completes in these three"
    click.echo(kind(serenity, {}, "serenity", "_SERENITY_COMPLETE").source())
    return exits.OK

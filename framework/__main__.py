"""The framework's process: ``python -m serenity.framework``."""

from gevent import monkey

monkey.patch_all()

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from serenity.daemon import exits, log, open_files
from serenity.daemon.clock import SystemClock
from serenity.daemon.serving import CannotListen
from serenity.daemon.settings import SettingsError, resolve
from serenity.daemon.signals import stop_event
from serenity.framework.settings import FrameworkSettings, estimator_environment, executor_environment
from serenity.framework.store.errors import StoreError
from serenity.wire.transport.trust_files import UnusableFile

logger = logging.getLogger("serenity.framework")

_CLICK = {float: click.FLOAT}
_BUG = "this is a bug in Serenity"  # How the framework begins when it is one; else Mesos or the store refuses it.


def _options() -> list[click.Parameter]:
    """One flag a setting, as the settings describe themselves."""
    options: list[click.Parameter] = []
    for field in msgspec.structs.fields(FrameworkSettings):
        meta = next(each for each in field.type.__metadata__ if isinstance(each, msgspec.Meta))
        base, flag = field.type.__origin__, f"--{field.name.replace('_', '-')}"
        kind: dict[str, Any] = {"is_flag": True, "default": None} if base is bool else {"type": _CLICK.get(base, str)}
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        text = meta.description if default in (None, "", False) else f"{meta.description}  [default: {default}]"
        options.append(click.Option([flag], help=text, **kind))
    teardown_help = "have Mesos end the framework for good, with all its tasks, and exit"
    options.append(click.Option(["--teardown"], is_flag=True, help=teardown_help))
    options.append(click.Option(["--yes"], is_flag=True, help="do not ask whether to tear down"))
    options.append(click.Option(["--config"], type=click.Path(path_type=Path), help="serenity.toml to use"))
    options.append(click.Option(["--verbose", "-v"], is_flag=True, help="log every detail"))
    return options


def run(config: Path | None, verbose: bool, teardown: bool, yes: bool, **flags: Any) -> int:
    log.set_up(verbose)
    try:
        import sqlalchemy  # noqa: F401 - of all that `framework` brings.
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"serenity framework: {error.name} is not installed; pip install 'serenity-mesos[framework]'\n"
        )
        return exits.REFUSED
    try:
        settings, _ = resolve(FrameworkSettings, "framework", flags, file=config)
        return _tear_down(settings, yes) if teardown else _serve(settings, config)
    except (SettingsError, UnusableFile) as error:
        sys.stderr.write(f"serenity framework: {error}\n")
        return exits.USAGE
    except (StoreError, CannotListen) as error:
        sys.stderr.write(f"serenity framework: {error}\n")
        return exits.REFUSED


def _serve(settings: FrameworkSettings, config: Path | None) -> int:
    """Serves until a signal, or until the framework cannot go on."""
    from serenity.framework.api.listeners import Listeners
    from serenity.framework.service import Framework

    open_files.raise_limit()
    stopping, failures = stop_event(), []

    def failed(why: str) -> None:
        failures.append(why)
        stopping.set()

    framework = Framework(
        settings,
        executor_environment(os.environ, config),
        SystemClock(),
        failed,
        # Read only for a roll-out: it may hold settings of this machine's own estimator, which cannot be handed on.
        estimator_environment(os.environ, config) if settings.roll_out_estimators else None,
    )
    try:
        listeners = Listeners(framework, settings, SystemClock())
    except (CannotListen, UnusableFile):
        framework.stop()
        raise
    logger.info("scheduling for %s", framework.master)
    framework.start()
    stopping.wait()
    framework.watchers.close()
    listeners.stop()
    framework.stop()
    for why in failures:
        sys.stderr.write(f"serenity framework: {why}\n")
    if any(why.startswith(_BUG) for why in failures):
        return exits.BUG
    return exits.REFUSED if failures else exits.OK


def _tear_down(settings: FrameworkSettings, yes: bool) -> int:
    from serenity.framework.mesos.teardown import NotTornDown, tear_down

    def agreed(what: str) -> bool:
        if yes:
            return True
        sys.stderr.write(f"{what}\n")
        if not sys.stdin.isatty():
            raise NotTornDown("nobody is there to ask; say --yes if you mean it")
        return click.confirm("Go on?", err=True)

    try:
        print(tear_down(settings, SystemClock(), agreed))
    except NotTornDown as error:
        sys.stderr.write(f"serenity framework: not torn down: {error}\n")
        return exits.REFUSED
    return exits.OK


def main() -> None:
    help_text = "Runs the framework: takes jobs, and launches them on the slack of the cluster."
    names = {"help_option_names": ["-h", "--help"]}
    command = click.Command(
        "serenity framework", callback=run, params=_options(), help=help_text, context_settings=names
    )
    try:
        sys.exit(command.main(prog_name="serenity framework", standalone_mode=False))
    except click.UsageError as error:
        click.echo(
            f"serenity framework: {error.format_message().rstrip('.')}; see `serenity framework --help`", err=True
        )
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

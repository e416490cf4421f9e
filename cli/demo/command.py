"""`serenity demo`: three phases on real processes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serenity.cli.failure import Failure
from serenity.cli.output import words
from serenity.daemon import exits

if TYPE_CHECKING:
    from serenity.cli.demo.report import Measurements


@click.command("demo")
@click.option("--seconds", type=click.FloatRange(40, 3600), default=110.0, show_default=True, help="The three phases.")
@click.option(
    "--report",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Put report.json and timeline.png there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else.")
@click.option("--mesos-bin", metavar="DIR", help="Where mesos-master and mesos-agent are.  [default: PATH]")
@click.option("--embedded", is_flag=True, help="Use the embedded Mesos even where there is a real one.")
@click.option(
    "--isolation",
    type=click.Choice(["posix", "cgroups"]),
    help="Of a real agent.  [default: posix, as an agent's own]",
)
def command(
    seconds: float, report: Path | None, as_json: bool, mesos_bin: str | None, embedded: bool, isolation: str | None
) -> int:
    """Show what Serenity does, on real processes.

    Production (memcached under load) runs alone, then beside best-effort aggressors without
    protection, then with it.  Takes the three phases and about half a minute more.
    """
    from serenity.cli.demo import report as reporting
    from serenity.cli.demo.load_process import LoadFailed
    from serenity.cli.demo.production import ProductionError
    from serenity.cli.demo.progress import Progress
    from serenity.cli.demo.run import Demo, DemoError, DemoOptions, isolate_by_cgroups
    from serenity.cli.stack import StackError, WorkFolder, end_in_order_on_signals
    from serenity.localmesos.cluster.cluster import ClusterError, find_mesos

    if report is not None:
        _make(report)  # Before the work, not after it.
    end_in_order_on_signals()
    progress = Progress(quiet=as_json)
    try:
        mesos = None if embedded else find_mesos(mesos_bin)
        cgroups = isolate_by_cgroups(mesos, isolation)
        with WorkFolder(None) as work_dir:
            options = DemoOptions(work_dir, work_dir / "run", mesos, cgroups, seconds)
            measured = Demo(options, progress).run()
    except (DemoError, ClusterError, StackError, ProductionError, LoadFailed) as error:
        raise Failure(str(error), exits.REFUSED) from None
    except KeyboardInterrupt:
        progress.done()
        words("interrupted; all that the demo had started is stopped")
        return exits.INTERRUPTED
    content = reporting.to_json(measured)
    if as_json:
        click.echo(json.dumps(content))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo("\n" + reporting.table(measured, width))
    if report is not None:
        _write(content, report)
        _draw(measured, report)
    return exits.OK if all(each.met for each in reporting.expectations(measured)) else exits.JOB_FAILED


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").touch()
    except OSError as error:
        raise Failure(f"cannot write to {folder}: {error.strerror}", exits.REFUSED) from None


def _write(content: dict[str, Any], folder: Path) -> None:
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n")


def _draw(measured: Measurements, folder: Path) -> None:
    from serenity.cli.demo.timeline import NoMatplotlib, draw

    try:
        draw(measured, folder / "timeline.png")
    except NoMatplotlib:
        words("no timeline.png: matplotlib is not installed; pip install 'serenity-mesos[plot]'")
        return
    words(f"see {folder / 'timeline.png'} and {folder / 'report.json'}")

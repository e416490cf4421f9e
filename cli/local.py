"""`serenity local`: a Mesos, an estimator and a framework on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serenity.cli import amounts
from serenity.cli.failure import Failure
from serenity.cli.output import words
from serenity.daemon import exits

if TYPE_CHECKING:
    from serenity.cli.demo.production import Production
    from serenity.cli.stack import Daemon, Stack

# The share of the agent that production holds; the rest stays unallocated.  Slack is what production does not use.
_PRODUCTION_SHARE = 0.75
_POLL_S = 0.2
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 30.0
_LONG_LIFE_S = 60.0


@click.command("local")
@click.option("--cpus", metavar="CPUS", callback=amounts.cpus, help="Of the agent.  [default: this machine's]")
@click.option("--mem", metavar="MEM", callback=amounts.mem, default="4G", show_default=True, help="Of the agent.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8640",
    show_default=True,
    help="The framework's API for who has a token; or none.",
)
@click.option(
    "--work-dir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Logs, sandboxes, jobs.  [default: a temporary one]",
)
@click.option("--mesos-bin", metavar="DIR", help="Where mesos-master and mesos-agent are.  [default: PATH]")
@click.option("--embedded", is_flag=True, help="Use the embedded Mesos even where there is a real one.")
@click.option(
    "--isolation", type=click.Choice(["posix", "cgroups"]), default="posix", show_default=True, help="Of the agent."
)
def command(
    cpus: float | None,
    mem: int,
    listen: str,
    work_dir: Path | None,
    mesos_bin: str | None,
    embedded: bool,
    isolation: str,
) -> int:
    """Run all of it on this machine, until Ctrl-C.

    An idle production task holds three quarters of the agent, so that there is slack for
    best-effort jobs.  What ends unexpectedly is started again.
    """
    from serenity.cli.demo.production import ProductionError
    from serenity.cli.framework import check_executor_table
    from serenity.cli.stack import (
        Stack,
        StackError,
        StackOptions,
        WorkFolder,
        agent_resources,
        can_isolate_by_cgroups,
        end_in_order_on_signals,
        other_runs,
    )
    from serenity.localmesos.cluster.cluster import ClusterError, ClusterOptions, find_mesos
    from serenity.wire.messages.node import run_dir
    from serenity.wire.transport.http import Endpoint

    try:
        if listen != "none":
            Endpoint.parse(listen)
    except ValueError as error:
        raise Failure(f"--listen: {error}", exits.USAGE) from None
    check_executor_table()
    running = other_runs(run_dir())
    if running is not None:
        raise Failure(f"`serenity local` runs already, as process {running.pid}, at {running.url}", exits.REFUSED)
    end_in_order_on_signals()
    cpus = cpus or float(os.cpu_count() or 1)
    mem_mb = mem / (1 << 20)
    try:
        mesos = None if embedded else find_mesos(mesos_bin)
        if isolation == "cgroups" and not can_isolate_by_cgroups():
            raise Failure("cgroups isolation needs root and cgroups v1: cpu, cpuacct, memory, freezer", exits.REFUSED)
        with WorkFolder(work_dir) as folder:
            cluster = ClusterOptions(
                work_dir=folder,
                mesos_bin=mesos,
                resources=agent_resources(cpus, mem_mb),
                cgroups=isolation == "cgroups",
            )
            embedded_words = "the embedded Mesos (one machine, for demos and tests only)"
            words(f"starting {embedded_words if mesos is None else f'Mesos from {mesos}'}")
            with Stack(StackOptions(cluster, run_dir(), listen)) as stack:
                production = _idle_production(stack, cpus, mem_mb)
                try:
                    _tell(stack, folder, listen)
                    _watch(stack, production)
                finally:
                    words("stopping")
                    production.stop()
    except (ClusterError, StackError, ProductionError) as error:
        raise Failure(str(error), exits.REFUSED) from None
    except KeyboardInterrupt:
        return exits.OK
    return exits.OK


def _idle_production(stack: Stack, cpus: float, mem_mb: float) -> Production:
    from serenity.cli.demo.production import Production, Service

    user = pwd.getpwuid(os.geteuid()).pw_name
    share = _PRODUCTION_SHARE
    service = Service("idle-production", ("sleep", "315360000"), cpus * share, mem_mb * share)
    production = Production(stack.cluster.master, user, [service])
    try:
        production.start()
    except BaseException:
        production.stop()
        raise
    return production


def _tell(stack: Stack, folder: Path, listen: str) -> None:
    words(f"framework  {stack.url}" + (f", and http://{listen} with a token" if listen != "none" else ""))
    words(f"master     http://{stack.cluster.master}")
    words(f"agent      http://{stack.cluster.agent}")
    words(f"logs       {folder}")
    words("")
    words("In another terminal:")
    words("    serenity submit --name hello --instances 3 -- sh -c 'echo hi; sleep 2'")
    words("    serenity list")
    words("Ctrl-C stops all of it.")


def _watch(stack: Stack, production: Production) -> None:
    """Restarts daemons that have ended, after pauses that double while one keeps ending; ends on SIGTERM or SIGINT."""
    from serenity.daemon.signals import stop_event

    stopping = stop_event()
    supervised = [_Supervised(daemon) for daemon in stack.daemons]
    while not stopping.wait(_POLL_S):
        for each in supervised:
            each.look(time.monotonic())
        if (trouble := production.trouble()) is not None:
            raise Failure(trouble, exits.REFUSED)


class _Supervised:
    """One daemon, and when it is to be started again."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._started_s = time.monotonic()
        self._start_at_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def look(self, now_s: float) -> None:
        if self._start_at_s is not None:
            if now_s >= self._start_at_s:
                self._daemon.start()
                self._started_s, self._start_at_s = now_s, None
                words(f"the {self._daemon.name} is started again, as process {self._daemon.pid}")
            return
        how = self._daemon.ended()
        if how is None:
            return
        if now_s - self._started_s > _LONG_LIFE_S:
            self._pause_s = _FIRST_PAUSE_S
        words(f"the {self._daemon.name} {how}; starting it again in {self._pause_s:.0f} s (log: {self._daemon.log})")
        self._start_at_s = now_s + self._pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)

"""`serenity doctor`: what this machine can do for Serenity, and whether the framework can be reached."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.failure import Failure
from serenity.cli.output import folded, print_json, styled
from serenity.daemon import exits
from serenity.wire.messages import api
from serenity.wire.messages.tokens import Me

State = Literal["ok", "less", "bad"]
_COLOURS = {"ok": "green", "less": "yellow", "bad": "red"}
_NAME_COLUMNS = 11
_EXTRAS = {
    "framework": ("flask", "sqlalchemy", "rich"),
    "plot": ("matplotlib",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`state`: well, working with less, or to be mended; `text` says what was found, and what to do about it."""

    about: str
    state: State
    text: str


@click.command("doctor")
@json_option
@url_option
def command(as_json: bool, url: str | None) -> int:
    """Check the installation, this machine, and the way to the framework.

    \b
    ok    as it should be
    less  works, but could do more; the line says what is missing
    bad   must be mended; the exit code is then 4
    """
    found = []
    for look in (_install, lambda: _framework(url), _rights, _cgroups, _counters, _resctrl, _pressure, _node):
        for each in look():
            found.append(each)
            if not as_json:
                _say(each)
    if as_json:
        print_json([{"about": each.about, "state": each.state, "text": each.text} for each in found])
    return exits.REFUSED if any(each.state == "bad" for each in found) else exits.OK


def _say(finding: Finding) -> None:
    line = folded(f"{finding.state.ljust(4)}  {finding.about.ljust(_NAME_COLUMNS)}  {finding.text}", _NAME_COLUMNS + 8)
    click.echo(styled(line[:4], _COLOURS[finding.state]) + line[4:])


def _install() -> Iterator[Finding]:
    from serenity import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("install", "ok", f"serenity {__version__} on Python {python}, in {sys.prefix}")
    for extra, packages in _EXTRAS.items():
        missing = [each for each in packages if importlib.util.find_spec(each) is None]
        if missing:
            text = f"without {', '.join(missing)}; pip install 'serenity-mesos[{extra}]', where that is needed"
            yield Finding("install", "less", text)


def _framework(url: str | None) -> Iterator[Finding]:
    try:
        framework = Framework(url)
        me = framework.get("/v1/me", Me)
        health = framework.get("/health", api.Health)
    except Failure as failure:
        none = failure.exit_code == exits.UNREACHABLE and failure.message.startswith("no framework found")
        yield Finding("framework", "less" if none else "bad", failure.message)
        return
    users = "whomever the agents allow" if me.users is None else ", ".join(me.users) or "no user"
    yield Finding("framework", "ok", f"{framework.url}: here one is {me.name}, {me.role}; jobs run as {users}")
    if not health.leading:
        yield Finding("mesos", "ok", f"this instance stands by; {health.leader or 'none that says where it is'} leads")
    elif not health.subscribed:
        trouble = health.trouble or "it is not yet subscribed"
        yield Finding("mesos", "bad", f"no subscription to the master {health.master}: {trouble}")
    else:
        yield Finding("mesos", "ok", f"subscribed to the master {health.master} as {health.framework_id}")
        if health.trouble is not None:
            yield Finding("store", "bad", f"{health.trouble}; nothing is launched until that is mended")


def _rights() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("rights", "ok", "root: jobs run as their users, in cgroups of their own")
    else:
        yield Finding("rights", "less", "not root: jobs run as this user, and are throttled by stopping and continuing")


def _cgroups() -> Iterator[Finding]:
    from serenity.qos.sources.cgroups import V2, Mounts

    mounts = Mounts.read().points
    wanted = ("cpu", "cpuset", "memory", "pids", "blkio", "freezer")
    if there := [each for each in wanted if each in mounts]:
        lacking = [each for each in wanted if each not in mounts]
        text = f"v1: {', '.join(there)}" + (f"; not {', '.join(lacking)}" if lacking else "")
        yield Finding("cgroups", "less" if lacking else "ok", text)
    elif V2 in mounts:
        controllers = (mounts[V2][0] / "cgroup.controllers").read_text().strip()
        yield Finding("cgroups", "ok" if "cpu" in controllers else "less", f"v2: {controllers or 'no controllers'}")
    else:
        yield Finding("cgroups", "less", "none mounted: what a container uses is read from its processes")


def _counters() -> Iterator[Finding]:
    from serenity.qos.sources.perf_encoding import encoder
    from serenity.qos.sources.perf_event import LinuxKernel
    from serenity.qos.sources.perf_probe import HARDWARE, probe

    pmu = probe(LinuxKernel(), HARDWARE, encoder(), cpu=0)
    if pmu.events:
        yield Finding("counters", "ok", f"hardware counters: {', '.join(pmu.events)}")
    for each in pmu.lacks:
        yield Finding("counters", "less", each)


def _resctrl() -> Iterator[Finding]:
    from serenity.qos.sources.resctrl import ROOT

    if (ROOT / "schemata").exists():
        yield Finding("resctrl", "ok", f"mounted at {ROOT}: caches and memory bandwidth can be limited")
    elif "resctrl" in Path("/proc/filesystems").read_text():
        text = f"not mounted, so caches and memory bandwidth are not limited; mount -t resctrl resctrl {ROOT}"
        yield Finding("resctrl", "less", text)
    else:
        yield Finding("resctrl", "less", "not in this kernel or processor: the CPU quota is taken instead")


def _pressure() -> Iterator[Finding]:
    if Path("/proc/pressure/memory").exists():
        yield Finding("pressure", "ok", "the kernel tells how long work waits for cpu, memory and disks (PSI)")
    else:
        yield Finding("pressure", "less", "no /proc/pressure; boot the kernel with psi=1")


def _node() -> Iterator[Finding]:
    from serenity.daemon.lock import is_held
    from serenity.wire.messages.node import originals_folder, qos_off_file, run_dir

    directory = run_dir()
    if qos_off_file(directory).exists():
        yield Finding("corrections", "less", f"off, by {qos_off_file(directory)}; remove it to turn them on")
    try:
        locks = sorted(originals_folder(directory).glob("*.lock"))
        left = [each.stem for each in locks if not is_held(each)]
    except OSError as error:
        yield Finding("left behind", "less", f"cannot look into {directory}: {error.strerror}")
        return
    if left:
        text = f"executors were killed, and what they changed is still so: {len(left)}; serenity executor --undo"
        yield Finding("left behind", "bad", text)
    else:
        yield Finding("left behind", "ok", f"nothing, by {originals_folder(directory)}")

"""The demo's three phases on real processes, from an empty machine to the measurements.

alone         production under its load; the harmless best-effort task is there already
unprotected   best-effort aggressors join on the slack, rung 0 and QoS off
protected     the same aggressors start anew, QoS on (rung 0 still off: the loop is to be seen)
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serenity.cli.client import Framework, job_path
from serenity.cli.demo.happenings import Happenings
from serenity.cli.demo.load_process import LoadProcess, capacity_of
from serenity.cli.demo.production import Production, Service, key_value_service, standby
from serenity.cli.demo.progress import Progress
from serenity.cli.demo.report import JUDGED_S, Correction, Figures, Measurements, Phase, Second
from serenity.cli.stack import Stack, StackOptions, agent_resources, can_isolate_by_cgroups, free_agent_port
from serenity.localmesos.cluster.cluster import ClusterOptions
from serenity.wire.messages import api, node
from serenity.wire.messages.api import MIB
from serenity.wire.messages.reasons import Reason

# The demo confines itself to so many CPUs, so that one client process can load them.
_CPUS = 2
_LOAD_SHARE = 0.65
_AGGRESSORS = 6
_AGGRESSOR_MEM_BYTES = 160 * MIB
_HARMLESS_CPUS = 0.05
# The share of the slack that the aggressors ask for.  When production catches up after the second phase, it uses more
# than ever before, and the slack shrinks by as much: by more than half on a machine that is fast just then.  Aggressors
# that held more than is left would be limited to it, hurt nobody, and not be evicted.
_AGGRESSORS_SHARE = 0.4
# How long a throttled task is held before it gets its CPU back, as a share of the protected phase; and how much it gets
# back a second, as a share of its allocation.  With the defaults, half a minute and a tenth, the phase would end before
# a task hurts again, and is evicted.
_HOLD_SHARE = 0.2
_STEP_SHARE = 0.5
_EXECUTOR_CPUS = 0.1
_AGENT_MEM_MB = 4096
_START_TIMEOUT_S = 45.0
_END_TIMEOUT_S = 20.0
_SETTLE_TIMEOUT_S = 15.0
_SETTLED_WITHIN = 0.05
_SETTLED_S = 8
_POLL_S = 0.1


class DemoError(Exception):
    """The demo could not go on; the text says why, and where to look."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`seconds`: the three phases together; starting, settling and stopping take half a minute more."""

    work_dir: Path
    run_dir: Path
    mesos_bin: Path | None
    cgroups: bool
    seconds: float = 110.0

    @property
    def phases_s(self) -> tuple[float, float, float]:
        return self.seconds * 0.28, self.seconds * 0.2, self.seconds * 0.52


class Demo:
    def __init__(self, options: DemoOptions, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._phases: list[Phase] = []
        self._setting: dict[str, Any] = {}
        self._hold_s = _HOLD_SHARE * options.phases_s[2]
        self._onset: float | None = None  # When the aggressors of the protected phase began.

    def run(self) -> Measurements:
        """Raises DemoError, and whatever the parts raise when they do not start; nothing is left running."""
        cpus = _confine_to(_CPUS)
        cgroups = self._options.cgroups
        port = free_agent_port()
        service, self._setting["service"] = key_value_service(port, cpus)
        production = [service, standby(cpus, _AGENT_MEM_MB)]
        cluster = ClusterOptions(
            work_dir=self._options.work_dir,
            mesos_bin=self._options.mesos_bin,
            resources=agent_resources(cpus, _AGENT_MEM_MB),
            cgroups=cgroups,
            # By default Mesos gives best-effort next to no CPU shares, and production would never be hurt.
            agent_flags={"no-revocable_cpu_low_priority": None} if cgroups else {},
        )
        settings = {
            "SERENITY_EXECUTOR_RUNG0": "false",
            "SERENITY_EXECUTOR_HOLD_S": f"{self._hold_s:g}",
            "SERENITY_EXECUTOR_STEP_SHARE": f"{_STEP_SHARE:g}",
            "SERENITY_EXECUTOR_RELAPSES": "1",
        }
        options = StackOptions(cluster, self._options.run_dir, environment=settings)
        self._say_what_it_is(cpus, cgroups)
        address = f"127.0.0.1:{port}"
        rate = self._load_rate(service, address)
        with contextlib.ExitStack() as started:
            stack = started.enter_context(Stack(options))
            qos_on = started.enter_context(_qos_off(self._options.run_dir))
            user = pwd.getpwuid(os.geteuid()).pw_name
            web = Production(stack.cluster.master, user, production)
            started.callback(web.stop)
            web.start()
            load = LoadProcess(address, rate)
            started.callback(load.stop)
            client = Framework(stack.url)
            happenings = Happenings(client, self._tell)
            started.callback(happenings.stop)
            self._watch = _Watch(stack, web)
            self._progress.say(f"watch along: serenity watch --kills --url {stack.url}")
            return self._phases_on(client, happenings, load, qos_on)

    # -- before ------------------------------------------------------------------------------

    def _say_what_it_is(self, cpus: int, cgroups: bool) -> None:
        real = self._options.mesos_bin is not None
        mesos = "the real Mesos" if real else "the embedded Mesos"
        isolation = "cgroups" if cgroups else "posix"
        self._setting |= {"mesos": "real" if real else "embedded", "isolation": isolation, "cpus": cpus}
        self._progress.heading(f"Serenity demo on {mesos}, {isolation} isolation, {cpus} CPUs")
        if cgroups:
            self._progress.say("the agent runs with --no-revocable_cpu_low_priority, or nothing would ever be hurt")
        self._progress.say(f"production: {self._setting['service']}, and an idle standby whose allocation is the slack")
        self._progress.say("best-effort starts without rung 0 (lowest priority), so that the loop has work")
        self._progress.say(f"what is throttled is held for {self._hold_s:.0f} s, not 30, and given back faster")
        self._progress.say("who hurts again as it is given back is evicted the first time")
        self._progress.say(f"logs: {self._options.work_dir}")

    def _load_rate(self, service: Service, address: str) -> float:
        """The load that the demo puts on the service, operations a second: `_LOAD_SHARE` of its capacity.

        The capacity is measured on an instance of its own, outside Mesos: else Serenity would remember
        the saturation as production's peak, and rightly hold back the slack for it.
        """
        capacity = capacity_of(service, address)
        rate = _LOAD_SHARE * capacity
        self._setting |= {"capacity_ops_per_s": capacity, "rate_ops_per_s": rate}
        self._progress.say(f"the service can take {capacity:,.0f} ops/s; the load is {rate:,.0f} ops/s, open-loop")
        return rate

    # -- the phases -----------------------------------------------------------------------------

    def _phases_on(
        self, client: Framework, happenings: Happenings, load: LoadProcess, qos_on: Callable[[], None]
    ) -> Measurements:
        alone_s, unprotected_s, protected_s = self._options.phases_s

        harmless = _submit(client, _harmless())
        self._wait_for_running(client, harmless, 1, "the harmless best-effort task")
        self._progress.heading("alone: production, and one harmless best-effort task")
        self._measure("alone", alone_s, load, None)
        alone = Figures.of(self._phases[0].seconds(load.seconds, JUDGED_S)).ops_per_s

        request = _aggressors(_slack_cpus(client))
        self._progress.heading(f"unprotected: {_AGGRESSORS} best-effort aggressors, QoS off")
        first = _submit(client, request)
        self._wait_for_running(client, first, _AGGRESSORS, "the aggressors")
        self._measure("unprotected", unprotected_s, load, alone)
        client.post(job_path(first, "/kill"), {}, api.Job)
        self._wait_for_end(client, first)
        self._settle(load, alone)

        self._progress.heading("protected: the same aggressors again, QoS on")
        qos_on()
        second = _submit(client, request)
        onset = self._onset = self._wait_for_running(client, second, 1, "the aggressors")
        self._measure("protected", protected_s, load, alone, onset)
        return self._measurements(client, load, onset, harmless, happenings)

    def _measure(
        self,
        name: str,
        duration_s: float,
        load: LoadProcess,
        reference: float | None,
        begin: float | None = None,
    ) -> None:
        begin = time.time() if begin is None else begin
        end = time.time() + duration_s
        have = len(load.seconds)
        while time.time() < end:
            seconds = load.wait_for_next(have, timeout_s=2.0)
            self._watch.check()
            if len(seconds) > have:
                have = len(seconds)
                last = seconds[-1]
                self._progress.second(last.t, last.ops_per_s, reference, last.p99_ms, end - time.time())
        self._progress.done()
        self._phases.append(Phase(name, begin, time.time()))

    def _settle(self, load: LoadProcess, alone: float) -> None:
        """Waits until production has its old throughput back, so that the next phase starts from health."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        seconds: list[Second] = load.seconds
        while time.monotonic() < deadline:
            seconds = load.wait_for_next(len(seconds), timeout_s=2.0)
            last = seconds[-_SETTLED_S:]
            if all(abs(each.ops_per_s / alone - 1) <= _SETTLED_WITHIN for each in last):
                return
        self._progress.say("production has not come back to its old throughput; going on all the same")

    def _tell(self, event: api.Event) -> None:
        by_user = event.reason == Reason.KILLED_BY_USER.code  # Our own kill, between the phases.
        if event.type == api.EventType.CORRECTION or (event.type == api.EventType.KILL and not by_user):
            after = f"+{event.at - self._onset:.1f} s  " if self._onset is not None else ""
            self._progress.say(f"{after}{_who(event)}: {event.text}")

    # -- waiting -----------------------------------------------------------------------------------

    def _wait_for_running(self, client: Framework, job: str, count: int, what: str) -> float:
        """Waits for `count` running instances; returns when the last of them began, seconds since the epoch."""

        def running(detail: api.JobDetail) -> list[float]:
            return sorted(
                each.running_at
                for each in detail.attempts
                if each.running_at is not None and each.state == api.AttemptState.RUNNING
            )

        detail = self._poll(client, job, lambda d: len(running(d)) >= count, _START_TIMEOUT_S)
        if detail is None:
            why = "; ".join(client.get(job_path(job, "/why"), api.Why).lines)
            raise DemoError(f"{what} did not start within {_START_TIMEOUT_S:.0f} s: {why}")
        return running(detail)[count - 1]

    def _wait_for_end(self, client: Framework, job: str) -> None:
        if self._poll(client, job, lambda d: d.job.state.ended, _END_TIMEOUT_S) is None:
            raise DemoError(f"job {job} did not end within {_END_TIMEOUT_S:.0f} s of its kill")

    def _poll(
        self, client: Framework, job: str, ready: Callable[[api.JobDetail], bool], timeout_s: float
    ) -> api.JobDetail | None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self._watch.check()
            detail = client.get(job_path(job), api.JobDetail)
            if ready(detail):
                return detail
            time.sleep(_POLL_S)
        return None

    # -- after -------------------------------------------------------------------------------------

    def _measurements(
        self, client: Framework, load: LoadProcess, onset: float, harmless: str, happenings: Happenings
    ) -> Measurements:
        kills = happenings.of(api.EventType.KILL, onset)
        corrections = [each.body for each in happenings.of(api.EventType.CORRECTION, onset) if each.body]
        attempts = client.get(job_path(harmless), api.JobDetail).attempts
        return Measurements(
            setting=self._setting,
            phases=tuple(self._phases),
            seconds=load.seconds,
            onset=onset,
            corrections=[
                Correction(body["at"], body["action"], body["task"], body.get("outcome", "")) for body in corrections
            ],
            kills=[each.body for each in kills if each.body],
            kill_lines=[each.text for each in kills],
            harmless_state=attempts[-1].state.value,
            harmless_attempts=len(attempts),
        )


def _who(event: api.Event) -> str:
    """Such as ``aggressor/2``: a task's id consists of its job's id, the instance and the attempt."""
    instance = (event.task or "").split(".")[1:2]
    return "/".join([event.name or event.job or "?", *instance])


class _Watch:
    """Notices when production or a daemon has ended, which they should not."""

    def __init__(self, stack: Stack, web: Production) -> None:
        self._stack = stack
        self._web = web

    def check(self) -> None:
        """Raises DemoError."""
        if (trouble := self._web.trouble()) is not None:
            raise DemoError(trouble)
        for daemon in self._stack.daemons:
            if (how := daemon.ended()) is not None:
                raise DemoError(f"the {daemon.name} {how}: {daemon.last_words()} (see {daemon.log})")


def isolate_by_cgroups(mesos_bin: Path | None, wanted: str | None) -> bool:
    """Whether the demo's agent uses cgroups.  `wanted`: ``posix``, ``cgroups`` or None for an agent's own default.

    The default is posix.  With cgroups, CPU weights protect a service that needs little more than its share, and how
    much it suffers is left to chance.

    Raises DemoError when what is wanted is not possible.
    """
    if wanted == "cgroups" and (mesos_bin is None or not can_isolate_by_cgroups()):
        raise DemoError("cgroups isolation needs a real Mesos, root, and the cgroup v1 controllers; try posix")
    return wanted == "cgroups"


@contextlib.contextmanager
def _qos_off(run_dir: Path) -> Iterator[Callable[[], None]]:
    """Makes the file that turns executors' corrections off; yields a function that removes it."""
    path = node.qos_off_file(run_dir)
    path.touch()
    try:
        yield lambda: path.unlink(missing_ok=True)
    finally:
        path.unlink(missing_ok=True)


def _submit(client: Framework, request: api.JobRequest) -> str:
    return client.post("/v1/jobs", request, api.Job).id


def _harmless() -> api.JobRequest:
    return api.JobRequest(
        name="harmless",
        command=("sh", "-c", "while :; do date; sleep 1; done"),
        cpus=_HARMLESS_CPUS,
        mem_bytes=32 * MIB,
        max_retries=0,
    )


def _aggressors(slack_cpus: float) -> api.JobRequest:
    """All of their share of the slack, so that Mesos' own CPU shares favour them as much as they ever would."""
    cpus = _AGGRESSORS_SHARE * slack_cpus - _HARMLESS_CPUS - _EXECUTOR_CPUS
    each_cpus = max(0.05, int(cpus / _AGGRESSORS * 100) / 100)
    return api.JobRequest(
        name="aggressor",
        command=(sys.executable, "-P", "-m", "serenity.cli.demo.aggressor", "--processes", str(2 * _CPUS)),
        cpus=each_cpus,
        mem_bytes=_AGGRESSOR_MEM_BYTES,
        instances=_AGGRESSORS,
        grace_s=1.0,
    )


def _slack_cpus(client: Framework) -> float:
    return sum(each.slack_cpus for each in client.get("/v1/nodes", api.Nodes).nodes)


def _confine_to(count: int) -> int:
    """Binds this process, and so all its children, to `count` CPUs at most; returns how many it has."""
    allowed = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, allowed)
    return len(allowed)

"""What best-effort gets of the slack when it does no harm, and what production pays for that: one JSON line.

    python -m bench.harmless [--seconds 60] [--mesos-bin DIR]

The demo's production (memcached under its open-loop load) runs alone, then beside best-effort
tasks of one thread each, which ask for all the slack and use every cycle that they are given, at
the lowest priority as they are by default, with corrections on.

`be_share`: their CPU time over the slack that the estimator reported while they ran, its integral
over time.  `production_share`: production's throughput beside them over that alone.  The client
that loads production is no task of Mesos: its CPU is in nobody's allocation, so `be_share` can
not reach 1 on a small machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from serenity.cli.client import Framework, job_path
from serenity.cli.demo.load_process import LoadProcess, capacity_of
from serenity.cli.demo.production import Production, key_value_service, standby
from serenity.cli.demo.report import Figures, Phase
from serenity.cli.stack import Stack, StackOptions, agent_resources, can_isolate_by_cgroups, free_agent_port
from serenity.localmesos.cluster.cluster import ClusterOptions, find_mesos
from serenity.wire.messages import api
from serenity.wire.messages.api import MIB
from serenity.wire.transport import http

_CPUS, _MEM_MB = 2, 4096
_LOAD_SHARE = 0.6
_SPINNER_CPUS = 0.25
_EXECUTOR_CPUS = 0.1
_ALONE_S = 20.0
_START_TIMEOUT_S = 60.0
_MARK = f"serenity-bench-spinner-{os.getpid()}"


def spinners(cpus: float) -> api.JobRequest:
    """As many spinning tasks as fit into that much slack; at least one."""
    return api.JobRequest(
        name="spinner",
        command=(sys.executable, "-S", "-c", f"{_MARK!r}\nwhile True: pass"),
        cpus=_SPINNER_CPUS,
        mem_bytes=48 * MIB,
        instances=max(1, int((cpus - _EXECUTOR_CPUS) / _SPINNER_CPUS)),
        grace_s=1.0,
    )


def cpu_s_of_spinners() -> float:
    """CPU time of all spinners that run now, since each began."""
    total = 0.0
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # It has ended.
            if any(_MARK in argument for argument in each.cmdline()):
                times = each.cpu_times()
                total += times.user + times.system
    return total


def slack_cpus(estimator: str) -> float:
    answer = http.request(http.Endpoint.parse(estimator), "GET", "/slack")
    return float(json.loads(answer.body)["cpus"])


def until(ready: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {_START_TIMEOUT_S:.0f} s")
        time.sleep(0.1)


def measure(seconds: float, work_dir: Path, mesos_bin: Path | None) -> Mapping[str, object]:
    cpus = sorted(os.sched_getaffinity(0))[:_CPUS]
    os.sched_setaffinity(0, cpus)
    port = free_agent_port()
    address = f"127.0.0.1:{port}"
    service, service_name = key_value_service(port, len(cpus))
    rate = _LOAD_SHARE * capacity_of(service, address)
    cgroups = mesos_bin is not None and can_isolate_by_cgroups()
    cluster = ClusterOptions(
        work_dir=work_dir, mesos_bin=mesos_bin, resources=agent_resources(len(cpus), _MEM_MB), cgroups=cgroups
    )
    with contextlib.ExitStack() as started:
        stack = started.enter_context(Stack(StackOptions(cluster, work_dir / "run")))
        user = pwd.getpwuid(os.geteuid()).pw_name
        web = Production(stack.cluster.master, user, [service, standby(len(cpus), _MEM_MB)])
        started.callback(web.stop)
        web.start()
        load = LoadProcess(address, rate)
        started.callback(load.stop)
        begin_s = time.time()
        time.sleep(_ALONE_S)
        alone = Figures.of(Phase("alone", begin_s, time.time()).seconds(load.seconds, _ALONE_S / 2))

        client = Framework(stack.url)
        request = spinners(slack_cpus(stack.estimator_address))
        job = client.post("/v1/jobs", request, api.Job).id
        until(lambda: _running(client, job) == request.instances, "all spinners running")
        begin_s, cpu_s, slack_s = time.time(), cpu_s_of_spinners(), 0.0
        last_s = time.monotonic()
        while time.time() < begin_s + seconds:
            time.sleep(1.0)
            now_s = time.monotonic()
            slack_s += slack_cpus(stack.estimator_address) * (now_s - last_s)
            last_s = now_s
        cpu_s = cpu_s_of_spinners() - cpu_s
        beside = Figures.of(Phase("beside", begin_s, time.time()).seconds(load.seconds))
        attempts = client.get(job_path(job), api.JobDetail).attempts
        client.post(job_path(job, "/kill"), {}, api.Job)
        until(lambda: client.get(job_path(job), api.JobDetail).job.state.ended, "the end of the spinners")
    return {
        "be_share": round(cpu_s / slack_s, 3),
        "be_cores": round(cpu_s / seconds, 3),
        "slack_cores": round(slack_s / seconds, 3),
        "production_share": round(beside.ops_per_s / alone.ops_per_s, 3),
        "p99_ms_alone": alone.p99_ms,
        "p99_ms_beside": beside.p99_ms,
        "spinners": request.instances,
        "restarts": len(attempts) - request.instances,
        "service": service_name,
        "isolation": "cgroups" if cgroups else "posix",
    }


def _running(client: Framework, job: str) -> int:
    detail = client.get(job_path(job), api.JobDetail)
    return sum(each.state is api.AttemptState.RUNNING for each in detail.attempts)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=60.0, help="with best-effort tasks")
    options.add_argument("--mesos-bin", metavar="DIR", help="a real Mesos; default: the embedded one")
    arguments = options.parse_args()
    mesos_bin = find_mesos(arguments.mesos_bin) if arguments.mesos_bin else None
    with tempfile.TemporaryDirectory(prefix="serenity-") as work_dir:
        print(json.dumps(measure(arguments.seconds, Path(work_dir), mesos_bin)))


if __name__ == "__main__":
    main()

"""What the framework bears: ``python -m bench.framework [--parts NAME,NAME]``.

Prints one JSON line with what was measured:

    tasks_per_s               tasks launched and finished, out of 100,000 queued jobs, with a master that answers at
                              once (`fake_master`), through the real drivers and the real store on disk
    placement_s               1,000 offers matched with 100,000 pending tasks, the worst of several mixtures
    submit_to_running_p99_s   on localmesos with slack free, of 200 submissions one after the other
    thousand_true_s           1,000 tasks of `true` on one agent of localmesos, from submission to the end
                              (both on a real Mesos where SERENITY_MESOS_BIN names one)
    rss_bytes, reconcile_s    of a framework with 100,000 running tasks on 10,000 agents, after a subscription:
                              its peak memory, and the time until every task was asked for and answered
    watchers_cost             share of tasks_per_s that 1,000 watchers cost; only if named

It leaves nothing behind.  docs/performance.md has numbers, and what limits each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from serenity.framework.jobs.ids import next_id
from serenity.framework.jobs.job import Attempt, Job, Place, first_attempt
from serenity.framework.jobs.views import job_view
from serenity.framework.mesos.task_info import ExecutorTemplate
from serenity.framework.placement.agents import Executor, Offer
from serenity.framework.placement.lines import Lines
from serenity.framework.placement.place import place
from serenity.framework.store.changes import Changes
from serenity.framework.store.store import Store
from serenity.wire.mesos.resources import Resources
from serenity.wire.messages.api import MIB, AttemptState, JobRequest
from serenity.wire.transport import http
from serenity.wire.transport.http import Endpoint, Unreachable

_QUEUED = 100_000
_TIMEOUT_S = 300.0


# -- tasks a second --------------------------------------------------------------------------------


def tasks_per_s(tasks: int = 20_000) -> dict[str, Any]:
    """Over the first `tasks` of `_QUEUED` jobs; on 200 agents with room for ten tasks each."""
    with queued_framework() as (master, _):
        counts = until(master, lambda counts: counts["finished"] >= tasks)
        took_s = counts["last_finish_at"] - counts["first_launch_at"]
        return {"tasks_per_s": round(counts["finished"] / took_s, 1)}


def watchers_cost(tasks: int = 10_000, runs: int = 3) -> dict[str, Any]:
    """Compares medians of runs without and with watchers, in turn.  A run counts from when all watchers follow."""
    rates: dict[int, list[float]] = {0: [], 1000: []}
    for watchers in [*rates] * runs:
        with queued_framework() as (master, url), watching(url, watchers):
            before, began_at = until(master, lambda counts: counts["finished"] > 0), time.time()
            after = until(master, lambda counts: counts["finished"] >= before["finished"] + tasks)  # noqa: B023 - now
            took_s = after["last_finish_at"] - began_at
            rates[watchers].append((after["finished"] - before["finished"]) / took_s)
    alone, watched = map(statistics.median, rates.values())
    sys.stderr.write(f"alone: {sorted(map(round, rates[0]))} tasks/s; watched: {sorted(map(round, rates[1000]))}\n")
    return {"watchers_cost": round(1.0 - watched / alone, 3)}


@contextlib.contextmanager
def queued_framework() -> Iterator[tuple[str, str]]:
    """Yields the addresses of a master and of a framework with `_QUEUED` jobs."""
    with tempfile.TemporaryDirectory(prefix="serenity-bench-") as name:
        fill_with_pending(Path(name) / "f.db", _QUEUED)
        with fake_master(200, 10.0 + 0.1, 20_000.0) as master, framework(Path(name), master) as url:
            yield master, url


def fill_with_pending(database: Path, jobs: int) -> None:
    """Stores pending jobs of one instance each, as if submitted one after the other."""
    store = Store(f"sqlite:///{database}")
    store.open()
    now_s, last, request = time.time(), None, JobRequest(command=("true",), cpus=1.0, mem_bytes=64 * MIB)
    changes = Changes()
    for _ in range(jobs):
        last = next_id(last, now_s)
        job = Job(last, "true", request, submitted_at=now_s)
        attempt = first_attempt(job, 0)
        changes.jobs[job.id] = job_view(job, {AttemptState.PENDING: 1}, 0)
        changes.attempts[attempt.task_id] = attempt
    store.commit(changes)
    store.close()


@contextlib.contextmanager
def watching(url: str, count: int) -> Iterator[None]:
    """Runs `count` clients that follow all events, in a process of their own."""
    if not count:
        yield
        return
    arguments = [sys.executable, "-c", _WATCHERS, url.removeprefix("unix:"), str(count)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"all follow\n":
            raise RuntimeError("the watchers did not all follow")
        yield
    finally:
        process.kill()
        process.wait()


# A program that says when each of its clients has been sent something.
_WATCHERS = """
import selectors, socket, sys
path, count = sys.argv[1], int(sys.argv[2])
ready, silent = selectors.DefaultSelector(), set()
for _ in range(count):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b"GET /v1/events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    ready.register(client, selectors.EVENT_READ)
    silent.add(client)
while True:
    for key, _ in ready.select():
        if not key.fileobj.recv(1 << 20):
            sys.exit("a stream has ended")
        if key.fileobj in silent:
            silent.remove(key.fileobj)
            if not silent:
                print("all follow", flush=True)
"""


# -- placement --------------------------------------------------------------------------------------


def placement_s(agents: int = 1000, pending: int = _QUEUED) -> dict[str, Any]:
    mixtures: dict[str, Callable[[int], tuple[JobRequest, int]]] = {
        "single tasks, all alike": lambda _: (JobRequest(command=("true",), cpus=0.5, user="u"), 1),
        "single tasks of 50 users in 100 sizes": lambda i: (
            JobRequest(
                command=("true",), cpus=0.1 + i % 100 / 25, mem_bytes=(64 + i % 7 * 64) * MIB, user=f"u{i % 50}"
            ),
            1,
        ),
        "single tasks, each of another size": lambda i: (
            JobRequest(
                command=("true",), cpus=round(0.1 + i * 7919 % 100_000 / 20_000, 3), mem_bytes=64 * MIB + i * 1049
            ),
            1,
        ),
        "jobs of 1,000 tasks": lambda i: (JobRequest(command=("true",), cpus=0.25, user=f"u{i % 9}"), 1000),
    }
    template = ExecutorTemplate("F", "serenity executor")
    took: dict[str, float] = {}
    for name, job_of in mixtures.items():
        lines, count, number = Lines(), 0, 0
        while count < pending:
            request, instances = job_of(number)
            job = Job(f"{number:07}", "j", request, submitted_at=0.0)
            for instance in range(instances):
                lines.add(job, instance)
            count, number = count + instances, number + 1
        offers = [_offer(i) for i in range(agents)]
        began_s = time.perf_counter()
        placement = place(offers, lines, executors={}, template=template)
        took[name] = time.perf_counter() - began_s
        launched = sum(len(each.placed) for each in placement.launches)
        sys.stderr.write(f"placement, {name}: {took[name]:.3f} s, {launched} launched\n")
    return {"placement_s": round(max(took.values()), 3)}


def _offer(number: int) -> Offer:
    rng = random.Random(number)
    kind = {"revocable": {}, "provider_id": {"value": f"p{number}"}, "allocation_info": {"role": "serenity"}}
    slack = Resources.scalar("cpus", round(rng.uniform(0.5, 8.0), 3), **kind)
    slack += Resources.scalar("mem", float(rng.randrange(512, 16384)), **kind)
    return Offer(f"O{number}", f"S{number}", f"h{number}", f"http://h{number}:5051", slack)


# -- on localmesos -----------------------------------------------------------------------------------


def submit_to_running_p99_s(submissions: int = 200) -> dict[str, Any]:
    """The first submission, which waits for the executor's start, is left out."""
    with local_stack(cpus=4.0) as url:
        _run(url, {"command": ["true"], "cpus": 0.1, "mem_bytes": 32 * MIB})
        took_s = []
        for _ in range(submissions):
            began_s = time.time()
            job = _post(url, {"command": ["true"], "cpus": 0.1, "mem_bytes": 32 * MIB})
            attempt = _ended(url, job)["attempts"][0]
            took_s.append(attempt["running_at"] - began_s)
    took_s.sort()
    sys.stderr.write(f"submit to running: median {took_s[len(took_s) // 2]:.3f} s, longest {took_s[-1]:.3f} s\n")
    return {"submit_to_running_p99_s": round(took_s[int(len(took_s) * 0.99)], 3)}


def thousand_true_s() -> dict[str, Any]:
    with local_stack(cpus=16.0) as url:
        _run(url, {"command": ["true"], "cpus": 0.1, "mem_bytes": 32 * MIB})
        began_s = time.time()
        job = _post(url, {"command": ["true"], "cpus": 0.1, "mem_bytes": 8 * MIB, "instances": 1000})
        detail = _ended(url, job)
        assert detail["job"]["state"] == "finished", detail["job"]
        return {"thousand_true_s": round(detail["job"]["ended_at"] - began_s, 2)}


@contextlib.contextmanager
def local_stack(cpus: float) -> Iterator[str]:
    """A Mesos with a framework, one real executor, and fixed slack; yields the API's URL."""
    from serenity.localmesos.cluster.cluster import Cluster
    from serenity.localmesos.cluster.options import ClusterOptions
    from serenity.wire.mesos.provider import ProviderDriver, new_version, slack

    with tempfile.TemporaryDirectory(prefix="serenity-bench-") as name:
        folder = Path(name)
        mesos_bin = os.environ.get("SERENITY_MESOS_BIN")  # A real Mesos, if that is named.
        cluster = Cluster(ClusterOptions(work_dir=folder / "mesos", mesos_bin=Path(mesos_bin) if mesos_bin else None))
        cluster.start()
        try:
            total, version = slack("serenity", cpus=cpus, mem=16384.0), new_version()
            subscriber = _Slack(lambda: driver.update_state(total, version))
            driver = ProviderDriver(subscriber, cluster.agent, {"type": "org.serenity.slack", "name": "bench"})
            driver.start()
            try:
                with framework(folder, cluster.master, real_executor=True) as url:
                    yield url
            finally:
                driver.stop()
        finally:
            cluster.stop()


class _Slack:
    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say

    def subscribed(self, provider_id: str) -> None:
        self._say()

    def published(self, held: object) -> None: ...
    def unsubscribed(self, reason: str) -> None: ...
    def failed(self, reason: str) -> None: ...


def _post(url: str, job: dict[str, Any]) -> str:
    answer = http.request(Endpoint.parse(url), "POST", "/v1/jobs", job)
    assert answer.status == 201, answer.body
    return str(json.loads(answer.body)["id"])


def _run(url: str, job: dict[str, Any]) -> None:
    _ended(url, _post(url, job))


def _ended(url: str, job: str) -> Any:
    deadline_s = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline_s:
        if http.get_json(Endpoint.parse(url), "/v1/jobs?state=active&limit=1")["jobs"] == []:
            return http.get_json(Endpoint.parse(url), f"/v1/jobs/{job}")
        time.sleep(0.02)
    raise TimeoutError(f"job {job} has not ended")


# -- many ---------------------------------------------------------------------------------------------


def rss_and_reconcile(tasks: int = 100_000, agents: int = 10_000) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="serenity-bench-") as name:
        folder = Path(name)
        running = fill_with_running(folder / "f.db", tasks, agents)
        (folder / "running").write_text("\n".join(f"{task_id}\t{agent}" for task_id, agent in running.items()))
        with fake_master(agents, 4.0, 8192.0, folder / "running") as master, framework(folder, master) as url:
            counts = until(master, lambda counts: counts["reconciled"] >= 2 * tasks)
            # All that was sent is handled when the framework's counter has come so far; if it has no such counter,
            # when a question that came after it is answered.
            while "messages_total" in (before := metrics(url)) and handled(before) < counts["reconciled"]:
                time.sleep(0.2)
            took_s = time.time() - counts["subscribed_at"]
            (pid,) = [int(each) for each in (folder / "pid").read_text().split()]
            status = Path(f"/proc/{pid}/status").read_text()
            rss_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
            peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
            sys.stderr.write(f"rss: {rss_kib / 1024:.0f} MiB, at most {peak_kib / 1024:.0f} MiB\n")
            return {"rss_bytes": peak_kib * 1024, "reconcile_s": round(took_s, 1)}


def metrics(url: str) -> str:
    return http.get(Endpoint.parse(url), "/metrics", timeout_s=60.0).body.decode()


def handled(text: str) -> float:
    lines = (line for line in text.splitlines() if line.startswith("serenity_framework_messages_total "))
    return float(next(lines).split()[1])


def fill_with_running(database: Path, tasks: int, agents: int) -> dict[str, int]:
    """Stores jobs of one running task each; returns the number of its agent by task id."""
    store = Store(f"sqlite:///{database}")
    store.open()
    template, now_s, last = ExecutorTemplate("bench-F", "true"), time.time(), None
    changes, running = Changes(framework_id="bench-F"), {}
    for number in range(agents):
        kind = {"revocable": {}, "provider_id": {"value": f"p{number}"}}
        info = template.info(Resources.scalar("cpus", 0.1, **kind) + Resources.scalar("mem", 128.0, **kind))
        executor = Executor(f"S{number}", info["executor_id"]["value"], template.digest, info)
        changes.executors[executor.agent_id, executor.id] = executor
    for number in range(tasks):
        last, agent = next_id(last, now_s), number % agents
        request = JobRequest(
            command=("sleep", "3600"), cpus=0.5, env={"NUMBER": str(number)}, labels={"team": "search"}
        )
        job = Job(last, "sleep", request, submitted_at=now_s)
        attempt = Attempt(
            job.id,
            0,
            1,
            created_at=now_s,
            not_before=now_s,
            state=AttemptState.RUNNING,
            place=Place(f"S{agent}", f"h{agent}", f"http://h{agent}:5051", "e"),
            container_id=f"c-{agent}",
            launched_at=now_s,
            running_at=now_s,
        )
        changes.jobs[job.id] = job_view(job, {AttemptState.RUNNING: 1}, 0)
        changes.attempts[attempt.task_id] = attempt
        running[attempt.task_id] = agent
    store.commit(changes)
    store.close()
    return running


# -- processes ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def fake_master(agents: int, cpus: float, mem_mb: float, running: Path | None = None) -> Iterator[str]:
    """Runs a fake master; yields its address."""
    arguments = [str(agents), str(cpus), str(mem_mb), *([str(running)] if running else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fake_master", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def framework(folder: Path, master: str, real_executor: bool = False) -> Iterator[str]:
    """Runs a framework; yields its URL.  Its log stays in `folder`, and is shown when it does not start."""
    arguments = [
        *("--master", master, "--database", f"sqlite:///{folder / 'f.db'}"),
        *("--listen", "none", "--socket", str(folder / "api"), "--tokens-file", str(folder / "tokens.json")),
    ]
    if not real_executor:
        arguments += ["--executor-command", "true"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SERENITY_")}
    more = {"SERENITY_CONFIG": "/dev/null", "SERENITY_EXECUTOR_ALLOW_ROOT": "true", "SERENITY_RUN_DIR": str(folder)}
    profile = os.environ.get("BENCH_PROFILE")
    python = [sys.executable, *shlex.split(profile)] if profile else [sys.executable]
    with (folder / "framework.log").open("ab") as log:
        process = subprocess.Popen(
            [*python, "-m", "serenity.framework", *arguments], stdout=log, stderr=log, env={**environment, **more}
        )
    (folder / "pid").write_text(str(process.pid))
    try:
        _wait_for(f"unix:{folder / 'api'}", process, folder / "framework.log")
        yield f"unix:{folder / 'api'}"
    finally:
        process.terminate()
        try:
            process.wait(30.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            if http.request(Endpoint.parse(url), "GET", "/health", timeout_s=60.0).status == 200:
                return
        except Unreachable:
            time.sleep(0.05)
    raise RuntimeError(f"the framework did not start: {log.read_text()[-2000:]}")


def until(master: str, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The master's counts, as soon as they are `enough`."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline_s:
        counts: dict[str, Any] = http.get_json(Endpoint.parse(f"http://{master}"), "/counts")
        if enough(counts):
            sys.stderr.write(f"{counts}\n")
            return counts
        threading.Event().wait(0.1)
    raise TimeoutError(f"only so far after {_TIMEOUT_S:.0f} s: {counts}")


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "tasks": tasks_per_s,
    "placement": placement_s,
    "submit": submit_to_running_p99_s,
    "thousand": thousand_true_s,
    "many": rss_and_reconcile,
    "watchers": watchers_cost,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.framework", description=__doc__.splitlines()[0])
    every = [name for name in PARTS if name != "watchers"]
    parser.add_argument("--parts", default=",".join(every), help=f"some of {', '.join(PARTS)}")
    measured: dict[str, Any] = {}
    for name in parser.parse_args().parts.split(","):
        measured |= PARTS[name]()
    print(json.dumps(measured))


if __name__ == "__main__":
    main()

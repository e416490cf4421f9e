"""How soon the estimator answers, how much memory it takes, and when its word reaches others: one JSON line.

    python -m bench.estimator_latency [--containers 100] [--threads 20] [--interval 1] [--warm-up 30] [--seconds 60]
                                      [--offers 20] [--parts publish,offers]

`publish_ms_*`: from an agent's PUBLISH_RESOURCES, which holds up a launch, to its OK, at random moments of an
estimator that samples so many containers of so many threads once an interval, while an executor comes every two
seconds and is sent the history, which is whole after a warm-up of 300 intervals.  `rss_bytes`: what is resident of that
process before the first executor comes, `rss_max_bytes`: at most, at any time until the end.  `offer_s_*`: from the
release of the valve of an estimator on the embedded Mesos to the offer in a framework's hands; `rescind_s_*`: from
closing it to that offer's end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.executor import wait_until
from bench.made_up_node import BestEffort, NodeAgent, production
from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions
from serenity.wire.messages import node
from tests.estimator.conftest import Estimator, Framework

_AGENT_ID = "bench-S0"
_JOIN_EVERY_S = 2.0
_SAMPLE = b'{"type":"sample"'


def publish_ms(
    containers: int, threads: int, interval_s: float, warm_up_s: float, seconds: float
) -> tuple[list[float], int, int]:
    """How long each launch took; resident memory before the first executor comes; and the most that was resident."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serenity-bench-")))
        found = stack.enter_context(production(containers, threads))
        agent = NodeAgent(_AGENT_ID, found, BestEffort("be", os.getpid(), "f", "e", 1.0))
        stack.callback(agent.stop)
        estimator = Estimator(agent.address, folder, "--interval", str(interval_s))
        stack.callback(_end, estimator.start())
        wait_until(lambda: estimator.slack.get("subscribed"), "the estimator's subscription")
        time.sleep(warm_up_s)
        assert estimator.process is not None
        process = Path(f"/proc/{estimator.process.pid}/status")
        rss_bytes = _status_bytes(process, "VmRSS")
        stack.enter_context(_executors_that_come(estimator.socket))
        took_ms, until_s = [], time.monotonic() + seconds
        while time.monotonic() < until_s:
            time.sleep(random.uniform(0.0, 0.2))
            took_ms.append(agent.launch_s() * 1e3)
        return took_ms, rss_bytes, _status_bytes(process, "VmHWM")


def _status_bytes(process: Path, name: str) -> int:
    (line,) = (each for each in process.read_text().splitlines() if each.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def _executors_that_come(path: Path) -> Iterator[None]:
    """Another executor every `_JOIN_EVERY_S`, which reads its history and leaves."""
    ended = threading.Event()

    def come() -> None:
        while not ended.wait(_JOIN_EVERY_S):
            with contextlib.closing(_executor(path)) as connection, connection.makefile("rb") as lines:
                while not lines.readline().startswith(_SAMPLE):  # Not decoded: see `NodeAgent`.
                    pass

    thread = threading.Thread(target=come, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _executor(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))
    hello = node.Hello(framework_id="f", executor_id="e", container_id="be", pid=os.getpid())
    connection.sendall(node.encode_line(hello))
    return connection


def offers_s(count: int) -> tuple[list[float], list[float]]:
    """Seconds from opening the valve to an offer; and from closing the valve to the end of that offer."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serenity-bench-")))
        mesos = stack.enter_context(Cluster(ClusterOptions(folder / "m")))
        web, best_effort = (Framework(mesos.master, role) for role in ("*", "be"))
        for each in (web, best_effort):
            stack.callback(each.stop)
        web.run("sleep 3600", cpus=1.0, mem_mb=512)
        estimator = Estimator(mesos.agent, folder)
        stack.callback(_end, estimator.start())
        wait_until(lambda: best_effort.slack, "slack on offer")
        operator = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        operator.connect(str(estimator.socket))
        operator.sendall(node.encode_line(node.Operator(pid=os.getpid())))
        opened_s, closed_s = [], []
        for _ in range(count):
            lease = node.Lease(holder="bench", reason="", ttl_s=600.0)
            closed_s.append(_until(best_effort, operator, lease, offered=False))
            time.sleep(random.uniform(0.5, 1.0))
            opened_s.append(_until(best_effort, operator, node.Release(holder="bench"), offered=True))
            time.sleep(random.uniform(0.5, 1.0))
        return opened_s, closed_s


def _until(best_effort: Framework, operator: socket.socket, word: node.Lease | node.Release, *, offered: bool) -> float:
    before_s = time.monotonic()
    operator.sendall(node.encode_line(word))
    while bool(best_effort.slack) is not offered:
        if time.monotonic() - before_s > 30.0:
            raise TimeoutError(f"30 s after {word} it is still so")
        time.sleep(0.002)
    return time.monotonic() - before_s


def _end(estimator: Estimator) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        estimator.end()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--containers", type=int, default=100)
    options.add_argument("--threads", type=int, default=20, help="a container")
    options.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between samples")
    options.add_argument("--seconds", type=float, default=60.0, help="of launches")
    options.add_argument("--warm-up", type=float, default=30.0, metavar="SECONDS", help="before them")
    options.add_argument("--offers", type=int, default=20, help="that are waited for")
    options.add_argument("--parts", default="publish,offers")
    chosen = options.parse_args()
    line: dict[str, object] = {}
    if "publish" in chosen.parts:
        found_ms, rss_bytes, rss_max_bytes = publish_ms(
            chosen.containers, chosen.threads, chosen.interval, chosen.warm_up, chosen.seconds
        )
        took_ms = sorted(found_ms)
        line |= {
            "containers": chosen.containers,
            "launches": len(took_ms),
            "publish_ms_p50": round(statistics.median(took_ms), 1),
            "publish_ms_p99": round(took_ms[int(len(took_ms) * 0.99)], 1),
            "publish_ms_max": round(took_ms[-1], 1),
            "rss_bytes": rss_bytes,
            "rss_max_bytes": rss_max_bytes,
        }
    if "offers" in chosen.parts:
        opened_s, closed_s = offers_s(chosen.offers)
        for name, found in (("offer_s", opened_s), ("rescind_s", closed_s)):
            line |= {f"{name}_p50": round(statistics.median(found), 3), f"{name}_max": round(max(found), 3)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

# Monkey-patching is for a process of its own; the peer, in this one, is at argv[1].
PROGRAM = """
from gevent import monkey
monkey.patch_all()
import sys, time, gevent
from serenity.wire.mesos.scheduler import Disconnected, SchedulerDriver

class Scheduler:
    def __init__(self):
        self.told = []
    def __getattr__(self, name):
        return lambda *_: self.told.append(name)

scheduler = Scheduler()
driver = SchedulerDriver(scheduler, {"user": "nobody", "name": "gevent"}, sys.argv[1])
driver.start()
with gevent.Timeout(5):
    while "registered" not in scheduler.told:
        gevent.sleep(0.01)
    gevent.joinall([gevent.spawn(driver.reviveOffers) for _ in range(20)], raise_error=True)
    driver.reopen()  # From another greenlet than the one that reads.
    while "reregistered" not in scheduler.told:
        gevent.sleep(0.01)
    began = time.monotonic()
    driver.stop()
    assert time.monotonic() - began < 1, "stop waited for its own greenlet"
    try:
        driver.reviveOffers()
    except Disconnected:
        print(" ".join(scheduler.told))
"""


def test_the_same_code_works_in_greenlets(peer: Any, shape: Callable[[str], Any]) -> None:
    peer.greeting = shape("scheduler_events.json")[0]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, peer.address], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["registered", "disconnected", "reregistered"]
    assert len(peer.sent("REVIVE")) == 20
    assert "Traceback" not in run.stderr

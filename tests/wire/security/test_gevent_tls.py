from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.wire.security.conftest import Authority
from tests.wire.security.fronts import Front

# Monkey-patching is for a process of its own; the front, in this one, is at argv[1], its authority in argv[2].
PROGRAM = """
from gevent import monkey
monkey.patch_all()
import sys, time, gevent
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import Client, Endpoint
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.transport.tls import client_context

class Scheduler:
    def __init__(self):
        self.told = []
    def __getattr__(self, name):
        return lambda *_: self.told.append(name)

access = Access(tls=client_context(sys.argv[2]))
client = Client(Endpoint.parse(sys.argv[1]), access=access)
for _ in range(3):
    client.request("POST", "/kept", {"type": "KEPT"})
client.close()
scheduler = Scheduler()
driver = SchedulerDriver(scheduler, {"user": "nobody", "name": "gevent"}, sys.argv[1], access=access)
driver.start()
with gevent.Timeout(10):
    while "registered" not in scheduler.told:
        gevent.sleep(0.01)
    gevent.joinall([gevent.spawn(driver.reviveOffers) for _ in range(20)], raise_error=True)
    driver.reopen()  # From another greenlet than the one that reads.
    while "reregistered" not in scheduler.told:
        gevent.sleep(0.01)
    began = time.monotonic()
    driver.stop()
    assert time.monotonic() - began < 1, "stop waited for its own greenlet"
print(" ".join(scheduler.told))
"""


def test_tls_works_in_greenlets(
    peer: Any, front: Callable[..., Front], authority: Authority, shape: Callable[[str], Any]
) -> None:
    peer.greeting = shape("scheduler_events.json")[0]
    served = front(peer.address, authority.server())
    arguments = [sys.executable, "-c", PROGRAM, f"https://{served.address}", authority.ca_file]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["registered", "disconnected", "reregistered"]
    assert len(peer.sent("REVIVE")) == 20 and len(peer.sent("KEPT")) == 3
    assert served.connections == 4  # One that is kept, two streams, and one for all calls.
    assert "Traceback" not in run.stderr

"""Ending in order: SIGTERM and SIGINT set an event, whatever the process is doing."""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType


def stop_event() -> threading.Event:
    """An event that SIGTERM and SIGINT set; a second one ends the process at once.

    Must be called in the main thread.  Under gevent the event is gevent's, and waiting for
    it lets other greenlets run.
    """
    stopping = threading.Event()
    told, tell = socket.socketpair()
    signalled = False

    def stop(signum: int, _frame: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        signalled = True
        # No more than this: the signal may interrupt the main thread inside `stopping.wait`, which holds the lock that
        # `set` takes, or while it makes gevent's hub.
        os.write(tell.fileno(), b"\0")

    def pass_on() -> None:
        told.recv(1)
        stopping.set()

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    return stopping

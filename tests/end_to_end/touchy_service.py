"""A production service that suffers exactly as long as a best-effort task touches a file: harm that no machine's
speed decides.  Speaks as much of memcached's protocol as Serenity reads.

    touchy_service.py PORT FILE
"""

from __future__ import annotations

import socketserver
import sys
import threading
import time
from pathlib import Path

HEALTHY_PER_S = 1000.0
SUFFERING_PER_S = 200.0
TURN_S = 0.02
# How long one touch hurts: longer than a throttled toucher is stopped at a time.
HURT_S = 1.0


def suffering(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime < HURT_S
    except FileNotFoundError:
        return False


def main() -> None:
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    done = [0.0]

    def work() -> None:
        last = time.monotonic()
        while True:
            time.sleep(TURN_S)
            now = time.monotonic()
            done[0] += (now - last) * (SUFFERING_PER_S if suffering(file) else HEALTHY_PER_S)
            last = now

    class Stats(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(
                    f"STAT cmd_get {done[0]:.0f}\r\nEND\r\n".encode() if b"stats" in line else b"ERROR\r\n"
                )

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    threading.Thread(target=work, daemon=True).start()
    Server(("127.0.0.1", port), Stats).serve_forever()


main()

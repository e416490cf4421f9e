from __future__ import annotations

import socket
import subprocess
import sys

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import sys
from serenity.daemon.serving import CannotListen, serve
from serenity.wire.transport.http import Endpoint, request

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]

server = serve(application, "127.0.0.1", 0)
print(request(Endpoint("127.0.0.1", server.server_port), "GET", "/hello").body.decode())
server.stop()
for host, port in (("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", 99999), ("192.0.2.1", 8640), ("nowhere.invalid", 1)):
    try:
        serve(application, host, port)
    except CannotListen as error:
        print(error)
"""


def test_it_serves_and_says_why_it_cannot() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(port)], capture_output=True, text=True, timeout=30, check=False
        )
    assert run.returncode == 0, run.stderr
    served, in_use, too_large, not_ours, no_name = run.stdout.splitlines()
    assert served == "/hello"
    assert in_use == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert too_large.startswith("cannot listen on 127.0.0.1:99999: ") and "0-65535" in too_large
    assert not_ours == "cannot listen on 192.0.2.1:8640: Cannot assign requested address"
    assert no_name.startswith("cannot listen on nowhere.invalid:1: ")

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

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


ROUGH = """
from gevent import monkey
monkey.patch_all()
import os, socket, sys, time
import gevent
from pathlib import Path
from serenity.daemon import serving
serving._DISCARDED_WITHIN_S = 0.4
bounds = serving.Bounds(patience_s=0.4)
ended = []

def application(environ, start_response):
    if environ["PATH_INFO"] == "/who":
        start_response("200 OK", [])
        return [str(environ[serving.PEER_UID]).encode()]
    start_response("200 OK", [])
    return endless()

def endless():
    try:
        while True:
            yield b"x" * 65536
    finally:
        ended.append("endless")

def gone_after(sock, *pieces):
    began_s = time.monotonic()
    try:
        for piece in pieces:
            sock.sendall(piece)
            gevent.sleep(0.15)
        while sock.recv(1 << 20):
            pass
    except OSError:
        pass
    return round(time.monotonic() - began_s, 1)

path = Path(sys.argv[1])
servers = [
    serving.serve_unix(application, path, bounds),
    serving.serve(application, "127.0.0.1", 0, bounds=bounds),
]

def connect(kind):
    if kind == "tcp":
        return socket.create_connection(("127.0.0.1", servers[1].server_port))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return sock

for kind in ("unix", "tcp"):
    sock = connect(kind)
    sock.sendall(b"GET /who HTTP/1.0\\r\\n\\r\\n")
    print("who:", sock.recv(65536).split()[-1].decode())
drops = [bytes([each]) for each in b"GET /who HTTP/1.1 and more"]
print("silent:", gone_after(connect("unix")) < 2)
print("drops:", gone_after(connect("unix"), *drops) < 2)
print("slow headers:", gone_after(connect("unix"), b"GET / HTTP/1.1\\r\\n", *[b"A: b\\r\\n"] * 10) < 2)
post = b"POST /who HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000\\r\\n\\r\\n"
print("slow body:", gone_after(connect("unix"), post, *drops) < 2)
reader = connect("unix")
reader.sendall(b"GET /endless HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
began_s = time.monotonic()
while not ended and time.monotonic() - began_s < 5:
    gevent.sleep(0.05)
print("reads nothing:", ended)
try:
    serving.serve_unix(application, path)
except serving.CannotListen as error:
    print(error)
try:
    serving.serve_unix(application, Path("/tmp/" + "x" * 200))
except serving.CannotListen as error:
    print(str(error)[-45:])
"""


def test_whoever_says_or_reads_nothing_is_dropped_and_whoever_calls_is_known(tmp_path: Path) -> None:
    path = tmp_path / "s"
    run = subprocess.run(
        [sys.executable, "-c", ROUGH, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr
    assert run.stdout.splitlines() == [
        f"who: {os.geteuid()}",
        "who: None",
        "silent: True",
        "drops: True",
        "slow headers: True",
        "slow body: True",
        "reads nothing: ['endless']",
        f"cannot listen on {path}: Address already in use",
        "the path of a Unix socket has at most 107 bytes"[-45:],
    ]


CROWD = """
from gevent import monkey
monkey.patch_all()
import socket, sys
import gevent
from serenity.daemon import serving

go_on = gevent.event.Event()

def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    yield b"be"
    if environ["PATH_INFO"] == "/slow":
        go_on.wait()
    yield b"en"

server = serving.serve(application, "127.0.0.1", 0, bounds=serving.Bounds(connections=8, patience_s=60.0))

def connect(path=None):
    sock = socket.create_connection(("127.0.0.1", server.server_port))
    sock.settimeout(20)
    if path:
        sock.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
    return sock

def answer(sock):
    found = b""
    while not found.endswith(b"been"):
        found += sock.recv(65536)
    return found[:15].decode()

def is_open(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False

slow = connect("/slow")
gevent.sleep(0.05)
crowd = []
for round in range(10):
    crowd += [connect() for _ in range(20)]
    crowd[-1].sendall(b"GET ")  # Drop by drop.
    print(answer(connect("/")))
gevent.sleep(0.2)
print("left:", sum(map(is_open, crowd)) <= 7, is_open(crowd[-1]), is_open(crowd[0]))
go_on.set()
print("slow:", answer(slow))
"""


def test_where_all_places_are_held_who_has_waited_longest_without_a_request_goes() -> None:
    run = subprocess.run([sys.executable, "-c", CROWD], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    assert run.stdout.splitlines() == ["HTTP/1.1 200 OK"] * 10 + ["left: True True False", "slow: HTTP/1.1 200 OK"]

"""The API over real connections: who is let in, whose jobs are whose, and requests of those who mean ill."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from serenity.wire.transport.access import Access
from serenity.wire.transport.http import Endpoint, Unreachable, open_stream, request
from tests.framework.api.conftest import Served, problem

GOOD = {"command": ["true"]}


def unix(served, method, path, body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(Endpoint.parse(served.url), method, path, body, named)


# -- who is let in ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/events", "/health", "/metrics", "/v1/openapi.json", "/", "/v1/x"])
def test_over_tcp_nothing_is_to_be_had_without_a_token(served, path):
    answer = served.over_tcp("GET", path)
    assert problem(answer)[0] == 401 and "serenity token create" in problem(answer)[1]
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_does_what_its_role_may_until_it_is_revoked(served):
    read, submit = served.token("reader", "read"), served.token("submitter", "submit", "serenity-alice")
    assert served.over_tcp("GET", "/v1/jobs", token=read).status == 200
    status, text = problem(served.over_tcp("POST", "/v1/jobs", GOOD, token=read))
    assert status == 403 and "token:reader has the role read" in text
    job = served.over_tcp("POST", "/v1/jobs", GOOD, token=submit)
    assert job.status == 201
    assert (job.json()["owner"], job.json()["request"]["user"]) == ("token:submitter", "serenity-alice")
    for path in ("/v1/tokens", "/v1/tokens/reader"):
        assert served.over_tcp("DELETE" if "reader" in path else "GET", path, token=submit).status == 403
    served.request("DELETE", "/v1/tokens/submitter")
    assert problem(served.over_tcp("GET", "/v1/jobs", token=submit))[0] == 401


def test_a_job_runs_as_nobody_whom_its_token_does_not_list(served):
    token = served.token("listed", "admin", "serenity-alice", "serenity-bob")
    for user, status in (("root", 403), ("daemon", 403), ("serenity-eve", 403), (None, 422), ("serenity-bob", 201)):
        answer = served.over_tcp("POST", "/v1/jobs", {**GOOD, "user": user}, token=token)
        assert answer.status == status, (user, answer.body)


@pytest.mark.parametrize(
    "asked",
    [
        {"command": [""]},
        {"command": ["a\0b"]},
        {"command": "true\0"},
        {"env": {"A": "x\0"}},
        {"env": {"A\0B": "x"}},
        {"env": {"A=B": "x"}},
        {"user": "a\0"},
    ],
)
def test_what_no_system_can_start_is_refused_and_not_tried_four_times(served, asked):
    status, text = problem(unix(served, "POST", "/v1/jobs", {**GOOD, **asked}))
    assert status == 422 and text.startswith(next(iter(asked)))


def test_only_its_owner_or_an_admin_kills_a_job(served):
    mine, other = served.token("mine", "submit", "serenity-a"), served.token("other", "submit", "serenity-a")
    job = served.over_tcp("POST", "/v1/jobs", GOOD, token=mine).json()["id"]
    status, text = problem(served.over_tcp("POST", f"/v1/jobs/{job}/kill", {}, token=other))
    assert status == 403 and "is token:mine's" in text
    assert served.job(job)["kill_requested_at"] is None
    assert served.over_tcp("POST", f"/v1/jobs/{job}/kill", {}, token=mine).status == 202
    theirs = served.over_tcp("POST", "/v1/jobs", GOOD, token=mine).json()["id"]
    served.request("POST", f"/v1/jobs/{theirs}/kill", {}, status=202)  # Who runs the framework is an admin.


def test_what_a_job_s_variables_hold_is_its_owner_s_business(served):
    mine, other = served.token("with-env", "submit", "serenity-a"), served.token("curious", "submit", "serenity-a")
    asked = {**GOOD, "env": {"KEY": "geheim"}, "name": "secretive"}
    job = served.over_tcp("POST", "/v1/jobs", asked, token=mine).json()["id"]
    for path in ("/v1/jobs", f"/v1/jobs/{job}", f"/v1/jobs/{job}/why"):
        assert b"geheim" in served.over_tcp("GET", path, token=mine).body
        answer = served.over_tcp("GET", path, token=other).body
        assert b"geheim" not in answer and b'"KEY":"(hidden)"' in answer
    events = f"/v1/jobs/{job}/events"
    access = Access().with_token(other)
    stream = open_stream(served.tcp, "GET", events, headers={"Last-Event-ID": "0"}, silence_s=10, access=access)
    chunks = stream.chunks()
    next(chunks)
    assert b"geheim" not in next(chunks)
    stream.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_over_the_socket_a_user_is_who_the_kernel_says(served):
    """A user without a name, as this test can make no others, only reads; whatever he says he is."""
    script = """
import os, socket, sys
os.setgroups([]); os.setgid(54321); os.setuid(54321)
for method in ("GET", "POST"):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
        sock.sendall(f"{method} /v1/jobs HTTP/1.1\\r\\nHost: x\\r\\nserenity.peer_uid: 0\\r\\n"
                     "SERENITY_PEER_UID: 0\\r\\nContent-Type: application/json\\r\\n"
                     "Content-Length: 0\\r\\n\\r\\n".encode())
        print(sock.recv(65536).split()[1].decode())
"""
    command = [sys.executable, "-c", script, served.url.removeprefix("unix:")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["200", "403"]


def test_a_token_in_a_file_that_others_can_read_ends_the_framework_with_its_name(tmp_path):
    (tmp_path / "tokens.json").write_text("{}")
    (tmp_path / "tokens.json").chmod(0o644)
    arguments = ("--tokens-file", str(tmp_path / "tokens.json"), "--database", f"sqlite:///{tmp_path}/f.db")
    command = [sys.executable, "-P", "-m", "serenity.framework", "--socket", f"{tmp_path}/s", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 2 and ran.stderr.splitlines()[-1].endswith("chmod 600 it")


# -- what a browser can be made to send ----------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.evil.example:8640", "10.0.0.1", "localhost.evil.example"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs"), ("GET", "/v1/events")])
def test_a_page_whose_name_was_made_to_mean_this_machine_gets_nothing(served, host, method, path):
    answer = served.over_tcp(method, path, GOOD if method == "POST" else None, Host=host)
    assert problem(answer)[0] == 400 and "Host" in problem(answer)[1]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""])
def test_what_a_form_on_a_web_page_can_send_is_not_taken(served, kind):
    answer = unix(served, "POST", "/v1/jobs", b'{"command":["true"]}', Content_Type=kind)
    assert answer.status == 415 and b"JSON" in answer.body


@pytest.mark.parametrize("header", [("Origin", "http://evil.example"), ("Sec_Fetch_Site", "cross-site")])
def test_another_site_gets_nothing_and_is_not_told_that_it_may_ask(served, header):
    for method in ("POST", "OPTIONS"):
        answer = unix(served, method, "/v1/jobs", GOOD, **dict([header]))
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_answer_is_no_page_and_is_not_kept(served):
    answer = unix(served, "GET", "/v1/jobs")
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"


# -- too much, too long, too slow ---------------------------------------------------------------


def raw(served, head):
    """A connection on which a request's head was sent."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(served.url.removeprefix("unix:"))
    sock.sendall(head.replace("\n", "\r\n").encode())
    return sock


def test_a_body_of_100_mb_is_refused_before_it_is_sent(served):
    head = "POST /v1/jobs HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 100000000\n\n"
    with raw(served, head) as sock:
        began_s = time.monotonic()
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(65536):
                pass
        assert time.monotonic() - began_s < 5, "and the connection ends"


def test_a_body_without_end_is_refused_when_it_is_too_long(served):
    head = "POST /v1/jobs HTTP/1.1\nHost: x\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n"
    with raw(served, head) as sock:
        sent, chunk = 0, b"10000\r\n" + b"[" * 65536 + b"\r\n"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 64 << 20:
                sock.sendall(chunk)
                sent += 65536
        assert sent < 32 << 20


def test_a_body_that_is_somewhat_too_large_is_answered_in_words(served):
    body = {"command": ["true"], "env": {"A": "x" * (5 << 20)}}
    assert "exceeds" in served.request("POST", "/v1/jobs", body, status=413)["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"command":["\xff"]}', b'{"command":["true"]} x'])
def test_what_is_no_json_is_said_so(served, body):
    assert unix(served, "POST", "/v1/jobs", body, Content_Type="application/json").status == 400


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"x":' * 100_000])
def test_what_is_nested_without_end_is_refused(served, body):
    assert unix(served, "POST", "/v1/jobs", body, Content_Type="application/json").status in (400, 422)


@pytest.mark.parametrize("last_id", ["9" * 30, "9" * 5000, "-1", "x", "²"])
def test_an_event_id_that_none_can_be_is_refused(served, last_id):
    answer = unix(served, "GET", "/v1/events", Last_Event_ID=last_id.encode().decode("latin-1"))
    assert (answer.status, b"Last-Event-ID" in answer.body) == (400, True)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/../../etc/passwd/logs",
        "/v1/jobs/..%2f..%2fetc%2fpasswd/logs",
        "/v1/jobs/x/logs?output=../../../etc/passwd",
        "/v1/jobs/x/logs?output=stdout%00",
        "/v1/jobs/x/logs?instance=../1",
        "/v1/jobs/x/logs?path=/etc/passwd",
        "/v1/jobs/%2e%2e/logs",
        "/v1/jobs/%00/logs",
    ],
)
def test_a_path_that_leads_elsewhere_leads_nowhere(served, path):
    answer = unix(served, "GET", path)
    assert answer.status in (400, 404) and b"root:" not in answer.body


def test_the_socket_is_for_everybody_and_its_folder_says_who_comes(served):
    assert stat.S_IMODE(Path(served.url.removeprefix("unix:")).stat().st_mode) == 0o666


def test_a_framework_that_was_killed_leaves_no_socket_in_the_way_and_one_that_lives_keeps_its_own(served, tmp_path):
    served.kill()
    served.start()
    other = Served(tmp_path, ("--socket", served.url.removeprefix("unix:")))
    with pytest.raises(AssertionError, match="Address already in use"):
        other.start()
    assert served.request("GET", "/health")["subscribed"] is False


def test_over_tls_to_others_and_plain_http_gets_no_answer(tmp_path):
    authority, cert, ca = trustme.CA(), tmp_path / "cert.pem", tmp_path / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))
    cert.chmod(0o600)
    authority.cert_pem.write_to_path(str(ca))
    process = Served(tmp_path, ("--tls-cert", str(cert)))
    process.start()
    try:
        token = process.token("t", "read")
        with contextlib.closing(socket.create_connection((process.tcp.host, process.tcp.port))):
            pass  # Who says nothing is no trouble.
        secured = Endpoint(process.tcp.host, process.tcp.port, tls=True)
        access = Access(ssl.create_default_context(cafile=str(ca))).with_token(token)
        assert request(secured, "GET", "/v1/jobs", access=access).status == 200
        with pytest.raises(Unreachable):
            request(process.tcp, "GET", "/v1/jobs")
    finally:
        process.stop()
    assert "Traceback" not in process.log.read_text()


def test_a_watcher_needs_a_token_too_and_follows_from_where_it_was(served):
    token = served.token("watcher", "read")
    job = served.submit("true")
    access = Access().with_token(token)
    stream = open_stream(served.tcp, "GET", "/v1/events", headers={"Last-Event-ID": "0"}, silence_s=10, access=access)
    seen = b""
    for chunk in stream.chunks():
        seen += chunk
        if job.encode() in seen:
            break
    stream.close()
    ids = [int(line[4:]) for line in seen.decode().splitlines() if line.startswith("id: ")]
    assert ids == list(range(len(ids)))


def test_nobody_s_secret_is_in_the_log(served):
    token = served.token("secretive", "read")
    served.over_tcp("GET", "/v1/jobs", token=token)
    served.over_tcp("GET", "/v1/jobs", token=token + "x")
    assert token not in served.log.read_text()
    assert "has created the token secretive" in served.log.read_text()
    assert pwd.getpwuid(os.geteuid()).pw_name in json.dumps(served.request("GET", "/v1/tokens"))

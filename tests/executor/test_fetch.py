"""What is fetched for a task: by a real server, into a real folder; then through a whole executor."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serenity.executor.tasks.fetch import FetchError, fetch_all
from serenity.wire.messages.uris import Uri

LIMIT_BYTES = 1 << 20


class Server:
    """Serves `content` by path; what is no bytes is a status, or done."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}
        self.seen: list[tuple[str, str | None]] = []  # Path and authorization.
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.seen.append((self.path, self.headers["Authorization"]))
                content = server.content.get(self.path.split("?")[0], 404)
                if callable(content):
                    content(self)
                elif isinstance(content, int):
                    self.send_error(content)
                elif isinstance(content, str):
                    self.send_response(302)
                    self.send_header("Location", content)
                    self.end_headers()
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def fetch(*uris: str, limit_bytes: int = LIMIT_BYTES, timeout_s: float = 20.0) -> None:
    made = [Uri.parse(each) for each in uris]
    plan = [
        {**msgspec.to_builtins(each), "shown": each.shown, "file_name": each.file_name, "is_archive": each.is_archive}
        for each in made
    ]
    fetch_all(plan, limit_bytes, timeout_s)


def tar(*entries: tuple[str, Any], mode: str = "w:gz") -> bytes:
    """Name and content each: bytes, or what to set on the TarInfo."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size, info.mode = len(content), 0o755
                archive.addfile(info, io.BytesIO(content))
            else:
                for key, value in content.items():
                    setattr(info, key, value)
                archive.addfile(info)
    return made.getvalue()


def tree(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


def test_a_file_is_there_under_its_name_and_executable_if_asked(server: Server, sandbox: Path) -> None:
    server.content["/tool"] = b"#!/bin/sh\n"
    fetch(f"http://{server.host}/tool?v=1#executable", f"http://{server.host}/tool#as=plain")
    assert (sandbox / "tool").read_bytes() == b"#!/bin/sh\n"
    modes = [stat.S_IMODE((sandbox / name).stat().st_mode) for name in ("tool", "plain")]
    assert modes == [0o755, 0o644]


@pytest.mark.parametrize(
    ("name", "mode"), [("x.tgz", "w:gz"), ("x.tar", "w"), ("x.tar.xz", "w:xz"), ("x.tar.bz2", "w:bz2")]
)
def test_a_tar_is_unpacked_with_its_links_and_goes(server: Server, sandbox: Path, name: str, mode: str) -> None:
    content = tar(
        ("top/bin/run", b"run"),
        ("top/link", {"type": tarfile.SYMTYPE, "linkname": "bin/run"}),
        ("top/same", {"type": tarfile.LNKTYPE, "linkname": "top/bin/run"}),
        ("top/empty", {"type": tarfile.DIRTYPE, "mode": 0}),
        mode=mode,
    )
    server.content[f"/{name}"] = content
    fetch(f"http://{server.host}/{name}")
    assert tree(sandbox) == ["top", "top/bin", "top/bin/run", "top/empty", "top/link", "top/same"]
    assert (sandbox / "top/link").read_bytes() == (sandbox / "top/same").read_bytes() == b"run"
    assert os.access(sandbox / "top/bin/run", os.X_OK)
    fetch(f"http://{server.host}/{name}#keep")
    assert (sandbox / name).read_bytes() == content


def test_a_zip_is_unpacked(server: Server, sandbox: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", "text")
        tool = zipfile.ZipInfo("a/run")
        tool.external_attr = 0o755 << 16
        archive.writestr(tool, "#!/bin/sh")
        archive.writestr("x.zip", "of its own name")
    server.content["/x.zip"] = made.getvalue()
    fetch(f"http://{server.host}/x.zip")
    assert tree(sandbox) == ["a", "a/b.txt", "a/run", "x.zip"] and os.access(sandbox / "a/run", os.X_OK)
    assert not os.access(sandbox / "a/b.txt", os.X_OK) and (sandbox / "x.zip").read_text() == "of its own name"


OUT = [
    [("../out", b"x")],
    [("/out", b"x")],
    [("a/../../out", b"x")],
    [("link", {"type": tarfile.SYMTYPE, "linkname": ".."}), ("link/out", b"x")],
    [("link", {"type": tarfile.SYMTYPE, "linkname": "OUTSIDE"}), ("link/out", b"x")],
    [("a/link", {"type": tarfile.SYMTYPE, "linkname": "../../out"})],
    [("a", {"type": tarfile.SYMTYPE, "linkname": "b"}), ("b", {"type": tarfile.DIRTYPE}), ("a/x", b"x")],
    [("hard", {"type": tarfile.LNKTYPE, "linkname": "../secret"})],
    [("hard", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})],
    [("pipe", {"type": tarfile.FIFOTYPE})],
    [("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
]


@pytest.mark.parametrize("entries", OUT, ids=lambda entries: "+".join(name for name, _ in entries))
def test_nothing_gets_out_of_the_sandbox(server: Server, sandbox: Path, entries: list[tuple[str, Any]]) -> None:
    (sandbox.parent / "secret").write_text("secret")
    (sandbox.parent / "outside").mkdir()
    for _, content in entries:
        if isinstance(content, dict) and content.get("linkname") == "OUTSIDE":
            content["linkname"] = str(sandbox.parent / "outside")
    server.content["/evil.tgz"] = tar(*entries)
    with pytest.raises(FetchError) as refused:
        fetch(f"http://{server.host}/evil.tgz")
    assert not refused.value.elsewhere
    assert sorted(each.name for each in sandbox.parent.iterdir()) == ["outside", "sandbox", "secret"]
    assert list((sandbox.parent / "outside").iterdir()) == [] and (sandbox.parent / "secret").stat().st_nlink == 1


def test_a_link_that_an_archive_brings_is_not_written_through_by_the_next_uri(server: Server, sandbox: Path) -> None:
    server.content["/a.tgz"] = tar(("target", b"kept"), ("tool", {"type": tarfile.SYMTYPE, "linkname": "target"}))
    server.content["/tool"] = b"new"
    fetch(f"http://{server.host}/a.tgz", f"http://{server.host}/tool")
    assert (sandbox / "target").read_bytes() == b"kept" and not (sandbox / "tool").is_symlink()


def hang(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"some")
    handler.wfile.flush()
    time.sleep(2)


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"some")


@pytest.mark.parametrize(
    ("uri", "elsewhere", "text"),
    [
        ("http://HOST/none", False, "HTTP 404"),
        ("http://HOST/busy", True, "HTTP 503"),
        ("http://HOST/slow-down", True, "HTTP 429"),
        ("http://HOST/hang", True, "not there within 0.3 s|not there within 0 s"),
        ("http://HOST/cut", True, "cut off|IncompleteRead"),
        ("http://HOST/to-ftp", True, "unknown url type|not allowed"),
        ("http://HOST/big", False, "more than the 1048576 bytes"),
        ("http://HOST/bomb.tgz", False, "more than the 1048576 bytes"),
        ("http://HOST/text.tgz", False, "no archive that can be unpacked"),
        ("http://HOST/text.zip", False, "no archive that can be unpacked"),
        (f"http://HOST/text.tgz#keep,sha256={'0' * 64}", False, "its SHA-256 is"),
        ("http://127.0.0.1:1/x", True, "refused"),
        ("file:///no/such/file", False, "No such file"),
        ("file:///dev/zero", False, "not a regular file"),
        ("file:///etc", False, "not a regular file|Is a directory"),
    ],
)
def test_what_goes_wrong_is_told_with_whose_doing_it_is(
    server: Server, sandbox: Path, uri: str, elsewhere: bool, text: str
) -> None:
    server.content |= {
        "/busy": 503,
        "/slow-down": 429,
        "/hang": hang,
        "/cut": cut,
        "/to-ftp": "ftp://127.0.0.1/x",
        "/big": bytes(LIMIT_BYTES + 1),
        "/bomb.tgz": tar(("zeros", bytes(LIMIT_BYTES * 4))),
        "/text.tgz": b"text",
        "/text.zip": b"text",
    }
    with pytest.raises(FetchError, match=text) as failed:
        fetch(uri.replace("HOST", server.host), timeout_s=0.3 if "hang" in uri else 20.0)
    assert failed.value.elsewhere is elsewhere


def test_a_password_goes_to_its_server_and_nowhere_else(server: Server, sandbox: Path) -> None:
    other = Server()
    try:
        server.content["/moved"] = f"http://{other.host}/x"
        other.content["/x"] = b"x"
        fetch(f"http://me:p%40ss@{server.host}/moved")
        assert server.seen[-1] == ("/moved", "Basic bWU6cEBzcw==") and other.seen == [("/x", None)]
    finally:
        other.stop()


class TestThroughAnExecutor:
    def test_a_task_finds_what_it_has_asked_for(
        self, start: Any, agent: Any, server: Server, open_folder: Path
    ) -> None:
        server.content["/data.tgz"] = content = tar(("data/words", b"one two"))
        digest = hashlib.sha256(content).hexdigest()
        uris = (
            Uri.parse(f"http://{server.host}/data.tgz#sha256={digest}"),
            Uri.parse("file:///bin/echo#executable,as=say"),
        )
        executor = start(open_folder, qos=False)
        agent.launch("f1", "sh", "-c", "./say $(cat data/words)", uris=uris, schema=2)
        agent.wait_for("f1", "TASK_FINISHED")
        assert executor.output("f1") == "one two\n"
        agent.launch("f2", "true", uris=(Uri(value=f"http://{server.host}/none"),), schema=2)
        refused = agent.wait_for("f2", "TASK_FAILED")
        assert refused["message"] == f"cannot fetch http://{server.host}/none: HTTP 404 Not Found"
        agent.launch("f3", "true", uris=(Uri(value="http://127.0.0.1:1/x"),), schema=2)
        labels = agent.wait_for("f3", "TASK_FAILED")["labels"]["labels"]
        assert {"key": "serenity.reason", "value": "LAUNCH_REFUSED"} in labels
        agent.launch("f4", "true", disk_bytes=1 << 60)
        assert "[executor] task_disk" in agent.wait_for("f4", "TASK_FAILED")["message"]
        server.content["/hang"] = hang
        agent.launch("f5", "sleep", "60", uris=(Uri(value=f"http://{server.host}/hang"),), schema=2)
        agent.kill("f5", grace_s=0.0)
        agent.wait_for("f5", "TASK_KILLED")

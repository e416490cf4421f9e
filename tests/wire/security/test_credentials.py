from __future__ import annotations

import base64
import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serenity.wire.transport.access import access_of
from serenity.wire.transport.credentials import Credential, read_credential
from serenity.wire.transport.http import Client, Endpoint, get_json, open_stream
from serenity.wire.transport.trust_files import UnusableFile, read_private

SECRET = "s3cr3t of ours: ä"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    return path


def settings(**given: Any) -> Any:
    names = ("ca_file", "client_cert", "client_key", "principal", "secret_file")
    return SimpleNamespace(**{name: given.get(name) for name in names})


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        (SECRET, "serenity"),
        (f"{SECRET}\n", "serenity"),
        (f"{SECRET}\r\n", "serenity"),
        (f'{{"principal": "serenity", "secret": "{SECRET}"}}', None),
        (f'{{"principal": "serenity", "secret": "{SECRET}"}}\n', "serenity"),
    ],
)
def test_what_a_secret_file_may_hold(file: Path, text: str, principal: str | None) -> None:
    file.write_text(text)
    found = read_credential(str(file), principal)
    assert found == Credential("serenity", SECRET)
    assert base64.b64decode(found.basic.removeprefix("Basic ")).decode() == f"serenity:{SECRET}"


def test_mesos_older_line_of_principal_and_secret(file: Path) -> None:
    file.write_text("serenity s3cr3t\n")
    assert read_credential(str(file), None) == Credential("serenity", "s3cr3t")


@pytest.mark.parametrize(
    ("text", "principal", "expected"),
    [
        ("", "serenity", "must hold one line"),
        ("\n", "serenity", "must hold one line"),
        ("one\ntwo", "serenity", "must hold one line"),
        ("s3cr3t", None, "does not say whose secret it holds; give principal"),
        ("a b s3cr3t", None, "does not say whose secret it holds; give principal"),
        ('{"principal": "serenity"}', None, 'is not {"principal": "…", "secret": "…"}'),
        ('{"principal": "serenity", "secret": "s3cr3t"', None, 'is not {"principal": "…", "secret": "…"}'),
        ('{"principal": "other", "secret": "s3cr3t"}', "serenity", "is for 'other', but principal = 'serenity'"),
        ("s3cr3t", "a:b", "cannot be sent"),
        ("s3cr3t", "", "cannot be sent"),
        (b"s3cr3t\xff", "serenity", "is no text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_never_quoted(
    file: Path, text: str | bytes, principal: str | None, expected: str
) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UnusableFile) as caught:
        read_credential(str(file), principal)
    error: BaseException | None = caught.value
    assert str(error).startswith("secret_file: ") and str(file) in str(error) and expected in str(error)
    while error is not None:  # A traceback shows what is behind it, too.
        assert "s3cr3t" not in str(error)
        error = None if error.__suppress_context__ else error.__context__


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=f"secret_file: cannot read {tmp_path}/none: No such file"):
        access_of(settings(principal="serenity", secret_file=f"{tmp_path}/none"))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_can_read_is_warned_of(
    file: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    file.write_text("s3cr3t")
    file.chmod(mode)
    read_credential(str(file), "serenity")
    expected = [f"secret_file: {file} is open to others than its owner (mode {mode:04o}); chmod 600 it"]
    assert [each.getMessage() for each in caplog.records] == (expected if warned else [])


def test_a_file_that_is_gone_once_it_is_read_was_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o640)

    def write() -> None:
        with pipe.open("w") as file:  # Once it is open to be read.
            pipe.unlink()
            file.write("s3cr3t")

    writing = threading.Thread(target=write)
    writing.start()
    assert read_private("secret_file", str(pipe)) == b"s3cr3t"
    writing.join()
    assert "(mode 0640)" in caplog.text


def test_the_secret_goes_with_every_request_and_into_no_log(
    file: Path, peer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file.write_text('{"principal": "serenity", "secret": "s3cr3t"}')
    access = access_of(settings(secret_file=str(file)))
    assert access.principal == "serenity"
    endpoint = Endpoint.parse(peer.address)
    peer.pages["/state"] = {}
    get_json(endpoint, "/state", access=access)
    client = Client(endpoint, access=access)
    client.request("POST", "/", {"type": "A"})
    client.close()
    open_stream(endpoint, "POST", "/", {"type": "SUBSCRIBE"}, access=access).close()
    sent = "Basic " + base64.b64encode(b"serenity:s3cr3t").decode()
    assert [each.headers["authorization"] for each in peer.requests] == [sent] * 3
    for shown in (repr(access), str(access), repr(read_credential(str(file), None)), repr(client), caplog.text):
        assert "s3cr3t" not in shown and sent not in shown


def test_without_settings_nothing_is_shown_and_nothing_read(peer: Any) -> None:
    access = access_of(settings(principal="serenity"))
    client = Client(Endpoint.parse(peer.address), access=access)
    client.request("GET", "/")
    client.close()
    assert "authorization" not in peer.requests[0].headers
    assert access.principal == "serenity" and access.tls is None

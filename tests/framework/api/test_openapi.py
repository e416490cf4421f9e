"""The document and the API agree: schemathesis sends what the document allows, and what it does not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import msgspec
import pytest

from serenity.framework.api.openapi import document, with_document
from serenity.framework.api.routes import ROUTES, Events
from serenity.wire.messages import api
from serenity.wire.transport.http import Endpoint, open_stream

# Streams do not end, a token that is revoked is of no more use, and of nodes a master would have to tell.
_LEFT_OUT = r"events$|/tokens/\{token\}$|/nodes"


def test_the_document_is_served_and_is_of_the_table(served):
    described = document(with_document(ROUTES))
    assert served.request("GET", "/v1/openapi.json") == json.loads(msgspec.json.encode(described))
    assert {(method.upper(), path) for path, each in described["paths"].items() for method in each} == {
        *((each.method, each.path) for each in ROUTES),
        ("GET", "/v1/openapi.json"),
    }


def test_all_references_lead_somewhere():
    text = json.dumps(document(ROUTES))
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document(ROUTES)["components"]["schemas"]) and {"Job", "Problem", "Hint", "Token"} <= names


@pytest.mark.parametrize("route", [each for each in ROUTES if isinstance(each.answer, Events)], ids=lambda r: r.name)
def test_a_stream_s_events_are_events(served, route):
    job = served.submit("true")
    endpoint, path = Endpoint.parse(served.url), route.path.replace("{job}", job)
    stream = open_stream(endpoint, "GET", path, headers={"Last-Event-ID": "0"}, silence_s=15)
    assert stream.headers["content-type"].startswith("text/event-stream")
    chunks = stream.chunks()
    assert next(chunks) == b"id: 0\n\n"
    if route.name != "hint_events":
        data = next(chunks).split(b"data: ")[1].split(b"\n")[0]
        assert msgspec.json.decode(data, type=api.Event).id > 0
    stream.close()


@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_whatever_is_sent_is_answered_as_the_document_says(served, tmp_path):
    token = served.token("schemathesis", "admin", "serenity-test")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://{served.tcp}/v1/openapi.json"]
    command += ["-H", f"Authorization: Bearer {token}", "--exclude-path-regex", _LEFT_OUT, "--max-examples", "5"]
    # Not all that makes a request impossible can be said in a schema; then the answer is 422.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--phases", "coverage,fuzzing", "--seed", "1", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "this is a bug in Serenity" not in served.log.read_text()

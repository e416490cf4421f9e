"""An agent that speaks TLS, and asks who reads it."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from serenity.localmesos.cluster.cluster import Cluster
from tests.wire.security.fronts import Front
from tests.wire.security.guarded import guarded_options, secret_file


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(guarded_options(tmp_path)) as running:
        yield running


@pytest.fixture
def look(guarded: Cluster, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """One look at the agent, through TLS."""
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with contextlib.closing(Front(guarded.agent, context)) as agent:

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-P", "-m", "serenity.estimator", "--once", "--json", "--interval", "0.1"]
            command += ["--agent", f"https://{agent.address}", "--ca-file", str(ca_file), *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        yield run


@pytest.mark.real_mesos
def test_it_is_let_in_with_its_secret_and_told_what_to_check_without(
    look: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    known = look("--secret-file", str(secret_file(tmp_path)))
    assert known.returncode == 0, known.stderr
    assert json.loads(known.stdout)["hostname"] == "127.0.0.1"
    unknown = look()
    assert unknown.returncode == 5 and "asked by nobody: check principal and secret_file: HTTP 401" in unknown.stderr

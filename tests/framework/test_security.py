"""The framework's way to its master: found, over TLS, with a secret; and what an operator sees when it is not."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from serenity.framework.settings import FrameworkSettings
from serenity.localmesos.cluster.cluster import Cluster
from tests.framework.conftest import FrameworkProcess, Slack
from tests.polling import eventually
from tests.wire.security.fronts import Front
from tests.wire.security.guarded import SECRET, guarded_options, secret_file


def test_a_master_that_cannot_be_found_is_said_at_once_and_shown(tmp_path: Path) -> None:
    process = FrameworkProcess(tmp_path, "nonsense.invalid")
    process.start()
    try:
        health = eventually(lambda: (seen := process.request("GET", "/health"))["trouble"] and seen, "trouble")
        assert not health["subscribed"] and health["master"] == "nonsense.invalid:5050"
        assert health["trouble"].startswith("cannot resolve nonsense.invalid")
    finally:
        process.stop()
    said = [line for line in process.log.read_text().splitlines() if "no subscription to the master" in line]
    assert len(said) == 1 and " WARNING " in said[0] and "cannot resolve nonsense.invalid" in said[0]


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    store = ("--database", f"sqlite:///{tmp_path}/framework.db")
    command = [sys.executable, "-P", "-m", "serenity.framework", *store, "--principal", "me", "--secret-file", "/none"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    said = "serenity framework: secret_file: cannot read /none: No such file or directory\n"
    assert (run.returncode, run.stderr) == (2, said)


def test_zookeeper_s_password_is_in_no_error() -> None:
    with pytest.raises(ValueError, match="master: 'zk://h7' is no ZooKeeper address; write zk://") as caught:
        FrameworkSettings(master="zk://me:geheim@h7")
    assert "geheim" not in str(caught.value)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(guarded_options(tmp_path)) as running:
        yield running


@pytest.mark.real_mesos
def test_a_job_on_a_mesos_that_asks_who_we_are_and_speaks_tls(guarded: Cluster, tmp_path: Path) -> None:
    authority, ca_file, secret = trustme.CA(), tmp_path / "ca.pem", secret_file(tmp_path)
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with contextlib.closing(Front(guarded.master, context)) as master, contextlib.ExitStack() as stack:
        more = ("--ca-file", str(ca_file), "--secret-file", str(secret), "--verbose")
        process = FrameworkProcess(tmp_path, f"https://localhost:{master.port}", more=more)
        stack.callback(Slack(guarded.agent, "serenity").stop)
        process.start()
        stack.callback(process.stop)
        job = process.submit("sh", "-c", "echo hello")
        process.wait_for(job, "finished")
        assert process.request("GET", "/v1/nodes")["nodes"][0]["slack_cpus"] == 1.5
        # The agent, too, asks who reads its files.
        assert process.request("GET", f"/v1/jobs/{job}/logs?lines=1")["ended"]
    assert SECRET not in process.log.read_text()

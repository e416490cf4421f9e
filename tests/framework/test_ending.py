"""How a framework ends: Mesos does not take it, or an operator has it torn down; and at no other time."""

from __future__ import annotations

from pathlib import Path

import pytest

from serenity.framework.service import Framework
from serenity.framework.settings import FrameworkSettings
from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.transport.http import Endpoint, get_json
from tests.framework.conftest import Slack
from tests.framework.forked import ForkedFramework
from tests.framework.zygote import Zygote
from tests.manual_clock import ManualClock
from tests.polling import eventually


def test_a_framework_that_mesos_does_not_take_ends_with_one_line(
    cluster: Cluster, zygote: Zygote, tmp_path: Path
) -> None:
    code, said = ForkedFramework(zygote, tmp_path, cluster.master, role="no/such/../role").run()
    (line,) = [each for each in said.splitlines() if each.startswith("serenity framework:")]
    assert code == 4 and f"the Mesos master at {cluster.master} does not take this framework: " in line
    assert "Traceback" not in said


def test_a_framework_that_can_no_longer_tell_who_leads_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    settings = FrameworkSettings(database=f"sqlite:///{tmp_path / 'f.db'}")
    framework = Framework(settings, {}, ManualClock(), failures.append)
    try:
        monkeypatch.setattr(framework, "_term", object())  # A term that is none is as good a bug as any.
        framework._follow()
        assert len(failures) == 1 and failures[0].startswith("this is a bug in Serenity: AttributeError(")
        monkeypatch.undo()
    finally:
        framework.stop()


def test_only_who_means_it_tears_a_framework_down_and_its_jobs_stay(
    cluster: Cluster, zygote: Zygote, tmp_path: Path
) -> None:
    role, started = f"be-{tmp_path.parent.name}-{tmp_path.name}", tmp_path / "started"
    provider = Slack(cluster.agent, role)
    framework = ForkedFramework(zygote, tmp_path, cluster.master, role)
    try:
        assert framework.run("--teardown", "--yes") == (0, f"{tmp_path}/framework.db {NOTHING}\n")
        framework.start()
        job = framework.submit("sh", "-c", f"echo $$ >> {started}; exec sleep 60")
        framework.wait_for(job, "running")
        known_as = framework.health()["framework_id"]
        code, said = framework.run("--teardown", "--yes")
        assert code == 4 and "is in use by another framework; stop it" in said
        assert framework.stop() == 0

        code, said = framework.run("--teardown")
        assert code == 4 and "kills its tasks (1)" in said and "say --yes if you mean it" in said
        assert known_as in active(cluster), "what ends by SIGTERM, or asks, ends nothing in Mesos"

        code, said = framework.run("--teardown", "--yes")
        assert (code, said.splitlines()[-1]) == (0, f"Mesos has ended framework {known_as}, and its tasks with it (1)")
        eventually(lambda: known_as not in active(cluster), "its end")
        pid = int(started.read_text())
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "its task's end")
        framework.start()
        (first, second) = framework.attempts(job)
        assert (first["state"], first["retry"]["charged"], second["state"]) == ("lost", False, "pending")
        assert eventually(lambda: framework.health()["framework_id"], "a new framework") != known_as
    finally:
        framework.stop()
        framework.run("--teardown", "--yes")
        provider.stop()


NOTHING = "holds no framework that Mesos knows; nothing was done"


def active(cluster: Cluster) -> set[str]:
    return {each["id"] for each in get_json(Endpoint.parse(cluster.master), "/state")["frameworks"]}

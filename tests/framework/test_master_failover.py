"""A master dies and another takes its place that knows nobody: on a real Mesos.  In simulation: `test_faults.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from serenity.localmesos.cluster.cluster import Cluster
from tests.clusters import cluster_options
from tests.framework.conftest import Slack
from tests.framework.forked import ForkedFramework
from tests.framework.zygote import Zygote
from tests.polling import eventually

# So that the agent looks for another master soon.
IMPATIENT = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"}


@pytest.mark.real_mesos
def test_jobs_go_on_under_another_master(zygote: Zygote, tmp_path: Path) -> None:
    started = tmp_path / "started"

    def run(framework: ForkedFramework, seconds: float, **more: object) -> str:
        return framework.submit("sh", "-c", f"echo $$ >> {started}; sleep {seconds}", **more)

    with Cluster(cluster_options("real", tmp_path / "mesos", master_flags=IMPATIENT)) as cluster:
        provider, framework = Slack(cluster.agent, "be"), ForkedFramework(zygote, tmp_path, cluster.master, "be")
        try:
            framework.start()
            ending, staying = run(framework, 1), run(framework, 8)
            for job in (ending, staying):
                framework.wait_for(job, "running")
            known_as = framework.health()["framework_id"]
            cluster.kill_master()
            eventually(lambda: framework.health()["trouble"], "trouble")
            later = run(framework, 0)  # Users need no master.
            cluster.start_master()
            for job in (ending, staying, later):
                framework.wait_for(job, "finished")
                assert [each["state"] for each in framework.attempts(job)] == ["finished"]
            assert framework.health()["framework_id"] == known_as
            assert len(started.read_text().splitlines()) == 3
        finally:
            framework.stop()
            provider.stop()

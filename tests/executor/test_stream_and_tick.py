"""The agent's stream and the tasks do not wait for a tick, however long that takes."""

from __future__ import annotations

import os

import numpy as np

from serenity.qos.frame import PRODUCTION, Container, Frame, Node
from tests.polling import eventually

# A pipeline that computes until it is told to go on, in Python: it wants the interpreter's lock all the while.
# Who lets go of that more often than every 5 ms, as for looking at a file, and takes it again at once, is never
# asked for it: each time the others wake too late, and wait anew.  So it looks rarely.
ENDLESS = """
import os, sys
if sys.argv[0] == "-m":  # The executor, not what it starts.
    from serenity.qos.pipeline import Pipeline
    step, folder = Pipeline.step, os.environ["SERENITY_RUN_DIR"]
    def endless(self, frame):
        open(folder + "/ticking", "w").close()
        while not os.path.exists(folder + "/go-on"):
            for _ in range(3_000_000):
                pass
        open(folder + "/ticked", "w").close()
        return step(self, frame)
    Pipeline.step = endless
"""
WEB = Container("web-c1", PRODUCTION, "web", 1.0, 1e9)


def test_tasks_start_and_end_while_a_tick_is_at_work(start, agent, estimator, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(ENDLESS)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    running, run_dir = start(more={"PYTHONPATH": path}), tmp_path / "run"
    try:
        eventually(lambda: estimator.heard, "the executor on the node's socket")
        estimator.send(Frame(1.0, (WEB,), {"cpu": np.array([0.5])}, Node(cpus=4.0)))
        eventually((run_dir / "ticking").exists, "a tick at work")
        agent.launch("t", "sleep", "600")
        agent.wait_for("t", "TASK_RUNNING")
        agent.kill("t", grace_s=0.0)
        agent.wait_for("t", "TASK_KILLED")
        assert not (run_dir / "ticked").exists()
    finally:
        (run_dir / "go-on").touch()
    eventually((run_dir / "ticked").exists, "the end of the tick")
    assert running.process.poll() is None

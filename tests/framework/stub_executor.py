"""A small executor: runs each task as one process, and says how it ended.  No QoS.

A task whose first argument is ``evict`` is run and, after its second argument's seconds, killed with a record.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from serenity.wire.mesos.executor import ExecutorDriver
from serenity.wire.messages import kill_record
from serenity.wire.messages.kill_record import LABEL_REASON, KillRecord
from serenity.wire.messages.sandbox import output_file, task_folder
from serenity.wire.messages.task_spec import TaskSpec


class StubExecutor:
    def __init__(self) -> None:
        self.ended = threading.Event()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def registered(self, driver, executor_info, framework_info, agent_info):
        self._agent_id = agent_info["id"]["value"]

    def reregistered(self, driver, agent_info): ...
    def disconnected(self, driver): ...
    def frameworkMessage(self, driver, data): ...  # noqa: N802
    def acknowledged(self, driver, task_id, update_uuid): ...

    def launchTask(self, driver, task):  # noqa: N802
        threading.Thread(target=self._run, args=(driver, task), daemon=True).start()

    def killTask(self, driver, task_id, grace_s=None):  # noqa: N802
        self._processes[task_id["value"]].kill()

    def shutdown(self, driver):
        self.ended.set()

    def error(self, driver, message):
        self.ended.set()

    def _run(self, driver, task):
        task_id = task["task_id"]["value"]
        spec = TaskSpec.decode(base64.b64decode(task["data"]))
        Path(task_folder(task_id)).mkdir(parents=True)
        with (
            Path(output_file(task_id, "stdout")).open("wb") as stdout,
            Path(output_file(task_id, "stderr")).open("wb") as stderr,
        ):
            argv = ["sleep", "60"] if spec.argv[0] == "evict" else list(spec.argv)
            process = subprocess.Popen(argv, stdout=stdout, stderr=stderr, cwd=task_folder(task_id))
        self._processes[task_id] = process
        self._update(driver, task_id, "TASK_RUNNING")
        if spec.argv[0] == "evict":
            time.sleep(float(spec.argv[1]))
            process.kill()
            process.wait()
            self._update(
                driver, task_id, "TASK_KILLED", reason="REASON_CONTAINER_PREEMPTED", data=self._record(task_id, spec)
            )
            return
        code = process.wait()
        if code == 0:
            self._update(driver, task_id, "TASK_FINISHED")
        elif code == -9:
            self._update(driver, task_id, "TASK_KILLED", label="KILLED_BY_USER")
        else:
            self._update(driver, task_id, "TASK_FAILED", label="COMMAND_FAILED", message=f"exited with {code}")

    def _record(self, task_id, spec):
        record = KillRecord(
            id=f"k-{task_id}",
            decided_at=time.time(),
            agent=kill_record.Agent(id=self._agent_id, hostname="here"),
            killed=kill_record.Killed(
                task=task_id,
                job=spec.job_id,
                attempt=spec.attempt,
                ran_for_s=1.0,
                resources=kill_record.TaskResources(cpus=spec.cpus, mem_bytes=spec.mem_bytes),
            ),
            reason="QOS_CPU",
        )
        return base64.b64encode(record.encode()).decode()

    def _update(self, driver, task_id, state, label=None, **fields):
        status = {"task_id": {"value": task_id}, "agent_id": {"value": self._agent_id}, "state": state, **fields}
        if label:
            status["labels"] = {"labels": [{"key": LABEL_REASON, "value": label}]}
        driver.sendStatusUpdate(status)


if __name__ == "__main__":
    executor = StubExecutor()
    driver = ExecutorDriver(executor, os.environ)
    driver.start()
    executor.ended.wait()
    sys.exit(0)

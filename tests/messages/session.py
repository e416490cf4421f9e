"""One session with all that Serenity says to Mesos, and as much as can be had of what Mesos says to it.

The same on every Mesos.  First the daemons are led to it by jobs, kills, broken connections and restarts; then their
framework is taken over by hand, for the calls that the drivers have and the daemons never make.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serenity.cli.demo.production import Production, Service, sli_labels
from serenity.cli.stack import Stack, StackOptions, agent_resources, free_agent_port
from serenity.framework.mesos.calls import Accept, Acknowledge, Kill, Reconcile
from serenity.framework.mesos.scheduler import framework_info, make_call
from serenity.framework.mesos.task_info import ExecutorTemplate
from serenity.framework.settings import FrameworkSettings
from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions
from serenity.wire.mesos.resources import Json, Resources
from serenity.wire.mesos.scheduler import SchedulerDriver, encode_data
from serenity.wire.messages.node import qos_off_file
from serenity.wire.transport.endpoint import Endpoint
from serenity.wire.transport.http import request
from tests.end_to_end.running import Running
from tests.messages.recorder import Recorder
from tests.messages.recording import Recording
from tests.polling import eventually

RESOURCES = agent_resources(cpus=4.0, mem_mb=4096.0)
_PIPELINE = Path(__file__).with_name("quick.toml")
_TOUCHY = Path(__file__).parent.parent / "end_to_end" / "touchy_service.py"
# Hurts the touchy service by touching a file, and burns CPU, or it would not be suspected.
_CULPRIT = "import sys\nwhile True:\n open(sys.argv[1], 'w').close()\n sum(range(200000))"
# Ten samples, half a second that does not count yet, and those before the service was there.
_FRAMES_OF_A_BASELINE = 25
_QUIET_S = 0.5
_ENVIRONMENT = {
    "SERENITY_ESTIMATOR_PIPELINE": str(_PIPELINE),
    "SERENITY_ESTIMATOR_INTERVAL_S": "0.2",
    "SERENITY_EXECUTOR_PIPELINE": str(_PIPELINE),
    "SERENITY_EXECUTOR_RUNG0": "false",
    "SERENITY_EXECUTOR_WATCH_S": "0.5",
    "SERENITY_EXECUTOR_RECOVER_S": "1",
    "SERENITY_EXECUTOR_HOLD_S": "0.5",
    "SERENITY_EXECUTOR_RELAPSES": "1",  # Evicted is who hurts again as it is given back.
}


def record(options: ClusterOptions) -> Recording:
    """Plays the session on a Mesos of its own.  `options.work_dir` must have a short path: sockets are put there."""
    recorder = Recorder(Cluster(options))
    with _running(recorder) as running:
        _jobs_come_and_go(running)
        staying = running.run("sleep", "600", grace_s=0.2)
        running.wait_for_running(staying)
        _an_executor_loses_its_connection(running, recorder)
        _one_is_evicted(running)
        _daemons_come_back(running)
        running.wait_for_running(staying)
        # A call under which its framework ends would be refused, or not.
        eventually(lambda: recorder.recording.silent_s("scheduler") > _QUIET_S, "the end of what the framework asks")
        running.signal("framework", signal.SIGTERM)
        _the_framework_is_taken_over(running, recorder)
    return recorder.recording


@contextmanager
def _running(recorder: Recorder) -> Iterator[Running]:
    work_dir = recorder.mesos.options.work_dir
    environment = {**_ENVIRONMENT, "SERENITY_FRAMEWORK_EXECUTOR_COMMAND": recorder.executor_command}
    stack = Stack(StackOptions(recorder.mesos.options, work_dir / "run", environment=environment))
    stack.cluster = recorder  # type: ignore[assignment]  # It has all that a stack asks of a cluster.
    port = free_agent_port()
    touchy = (sys.executable, "-P", str(_TOUCHY), str(port), str(work_dir / "hurt"))
    services = [
        Service("touchy", touchy, 1.0, 512, sli_labels(f"127.0.0.1:{port}"), port),
        Service("idle", ("sleep", "600"), 2.5, 2560),
    ]
    with stack:
        qos_off_file(stack.options.run_dir).touch()
        production = Production(recorder.master, _user(), services)
        try:
            production.start()
            yield Running(stack, recorder.mesos)
        finally:
            production.stop()


def _jobs_come_and_go(running: Running) -> None:
    eventually(lambda: running.slack_cpus() > 1.0, "slack")
    sleeping = running.run("sleep", "600", instances=2, labels={"a label": ""}, env={"A": "b"}, grace_s=0.5)
    failing = running.run("sh", "-c", "exit 7", max_retries=0)
    missing = running.run("no-such-command", max_retries=0)
    running.wait_for(failing, "failed")
    running.wait_for(missing, "failed")
    running.wait_for_running(sleeping, 2)
    running.end(sleeping)
    stubborn = running.run("sh", "-c", "trap '' TERM; sleep 600", grace_s=0.2)
    running.wait_for_running(stubborn)
    running.end(stubborn)


def _an_executor_loses_its_connection(running: Running, recorder: Recorder) -> None:
    """Task and update are unacknowledged when it subscribes again."""
    recorder.cut_off_next("executor", "UPDATE")
    brief = running.run("true")
    running.wait_for(brief, "finished")


def _one_is_evicted(running: Running) -> None:
    eventually(lambda: _frames(running) >= _FRAMES_OF_A_BASELINE, "a baseline")
    hurt = str(running.work_dir / "hurt")
    culprit = running.run(sys.executable, "-c", _CULPRIT, hurt, max_retries=0, grace_s=0.2)
    running.wait_for_running(culprit)
    # Corrected is only this one: a slow machine's false alarm would close the valve under the rest of the session.
    switch = qos_off_file(running.stack.options.run_dir)
    switch.unlink()
    eventually(lambda: running.attempts(culprit, "killed"), "the eviction")
    switch.touch()
    running.end(culprit)


def _frames(running: Running) -> float:
    """How many the estimator has taken."""
    metrics = request(Endpoint.parse(running.stack.estimator_address), "GET", "/metrics").body.decode()
    found = [line.split()[-1] for line in metrics.splitlines() if line.startswith("serenity_estimator_frames_total ")]
    return float(found[0]) if found else 0.0


def _daemons_come_back(running: Running) -> None:
    running.signal("estimator", signal.SIGTERM)
    running.start("estimator")
    eventually(lambda: running.slack_cpus() > 1.0, "the slack's return")
    running.signal("framework", signal.SIGKILL)
    running.start("framework")


class _Taken:
    """The framework's callbacks: keeps what they are told, and acknowledges updates."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def of(self, callback: str) -> list[Any]:
        """What that callback was told: its arguments but the driver."""
        return [arguments for name, arguments in self.told if name == callback]

    def states(self, task_id: str) -> list[str]:
        return [status["state"] for (status,) in self.of("statusUpdate") if status["task_id"]["value"] == task_id]

    def __getattr__(self, name: str) -> Any:
        def callback(driver: SchedulerDriver, *arguments: Any) -> None:
            self.told.append((name, arguments))
            if name == "statusUpdate" and "uuid" in arguments[0]:
                make_call(driver, Acknowledge(arguments[0]))

        return callback


def _the_framework_is_taken_over(running: Running, recorder: Recorder) -> None:
    framework_id = next(
        each["subscribed"]["framework_id"]["value"]
        for each in reversed(recorder.recording.of("scheduler", "event"))
        if each["type"] == "SUBSCRIBED"
    )
    info = framework_info(FrameworkSettings(), framework_id, socket.gethostname())
    first, second = _Taken(), _Taken()
    driver, usurper = (SchedulerDriver(each, info, recorder.master) for each in (first, second))
    try:
        driver.start()
        _launches_that_fail(driver, first, framework_id)
        _asking(driver, first)
        _an_executor_is_shut_down(driver, first)
        eventually(lambda: _revocable_offer(first), "an offer that is held")
        running.signal("estimator", signal.SIGTERM)
        eventually(lambda: first.of("offerRescinded"), "a rescinded offer")
        usurper.start()
        eventually(lambda: first.of("error"), "the error of one who was usurped")
        eventually(lambda: usurper.subscribed, "the usurper's own subscription")
        usurper.teardown()
    finally:
        driver.stop()
        usurper.stop()


def _launches_that_fail(driver: SchedulerDriver, taken: _Taken, framework_id: str) -> None:
    offer = eventually(lambda: _revocable_offer(taken), "an offer")
    assert offer is not None
    slack = Resources.from_json(offer["resources"]).revocable
    cpus, mem = slack.take("cpus", 0.1), slack.take("mem", 32)
    assert cpus is not None and mem is not None
    resources = cpus + mem
    executor = ExecutorTemplate(framework_id, "false").info(resources)

    def task(name: str, agent_id: str) -> Json:
        ids = {"task_id": {"value": name}, "agent_id": {"value": agent_id}}
        return {"name": name, **ids, "resources": resources.to_json(), "executor": executor}

    here = offer["agent_id"]["value"]
    make_call(driver, Accept(("no-such-offer",), (task("dropped", here),), refuse_s=0.0))
    eventually(lambda: taken.states("dropped"), "the answer to a launch on no offer")
    tasks = (task("ending", here), task("invalid", "no-such-agent"))
    make_call(driver, Accept((offer["id"]["value"],), tasks, refuse_s=0.0))
    eventually(lambda: taken.states("invalid"), "the answer to an invalid launch")
    eventually(lambda: taken.states("ending"), "the end of a task whose executor ends")
    eventually(lambda: taken.of("executorLost"), "the end of an executor")


def _asking(driver: SchedulerDriver, taken: _Taken) -> None:
    make_call(driver, Reconcile())
    status = eventually(lambda: _running_task(taken), "the task that still runs")
    task_id, agent_id = status["task_id"]["value"], status["agent_id"]["value"]
    make_call(driver, Reconcile(((task_id, agent_id), ("no-such-task", None))))
    eventually(lambda: taken.states("no-such-task"), "a word on the unknown task")
    make_call(driver, Kill("no-such-task-either", None))
    eventually(lambda: taken.states("no-such-task-either"), "a word on the other unknown task")
    driver.sendFrameworkMessage(  # type: ignore[no-untyped-call]  # It is pymesos'.
        status["executor_id"], status["agent_id"], encode_data(b"of no use")
    )


def _an_executor_is_shut_down(driver: SchedulerDriver, taken: _Taken) -> None:
    status = _running_task(taken)
    driver.shutdownExecutor(status["executor_id"], status["agent_id"])
    eventually(lambda: "TASK_KILLED" in taken.states(status["task_id"]["value"]), "the task's end")
    eventually(lambda: status["executor_id"] in [lost[0] for lost in taken.of("executorLost")], "the executor's end")


def _revocable_offer(taken: _Taken) -> Json | None:
    """The last one that came."""
    offers = [offer for (offers,) in taken.of("resourceOffers") for offer in offers]
    return next((each for each in reversed(offers) if Resources.from_json(each["resources"]).revocable), None)


def _running_task(taken: _Taken) -> Any:
    return next((status for (status,) in taken.of("statusUpdate") if status["state"] == "TASK_RUNNING"), None)


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name

"""A small custom executor, run by Mesos in the tests: standard library only, `python -I probe_executor.py`.

A task's data (base64) says what it does: `run` runs until it is killed, `finish` ends at once,
`exit` ends the whole executor with status 3, `orphan` leaves a process in a session of its own,
`deaf` never comes back to an agent that was lost, `mute` sends no update while the agent is there.
With checkpointing it waits for a lost agent to return.  Every event is a line of its standard output.
"""

import base64
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
import uuid

FRAMEWORK = {"value": os.environ["MESOS_FRAMEWORK_ID"]}
EXECUTOR = {"value": os.environ["MESOS_EXECUTOR_ID"]}
HOST, _, PORT = os.environ["MESOS_AGENT_ENDPOINT"].rpartition(":")
WAITS = os.environ["MESOS_CHECKPOINT"] == "1"

deaf = False
tasks = {}  # By id, until the first update of each is acknowledged.
updates = {}  # By uuid, until acknowledged.


def call(kind, **body):
    connection = http.client.HTTPConnection(HOST, int(PORT))
    body.update(type=kind, framework_id=FRAMEWORK, executor_id=EXECUTOR)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    connection.request("POST", "/api/v1/executor", json.dumps(body), headers)
    return connection.getresponse()


def update(task_id, state, **fields):
    status = {
        "task_id": task_id, "state": state, "source": "SOURCE_EXECUTOR", "executor_id": EXECUTOR,
        "uuid": base64.b64encode(uuid.uuid4().bytes).decode(), "timestamp": time.time(), **fields,
    }  # fmt: skip
    updates[status["uuid"]] = status
    answer = call("UPDATE", update={"status": status})
    if answer.status != 202:
        sys.exit(f"{state}: {answer.status} {answer.read()!r}")


def launch(task):
    global deaf
    does = base64.b64decode(task.get("data", "")).decode()
    tasks[task["task_id"]["value"]] = task
    if does == "exit":
        sys.exit(3)
    if does == "orphan":
        orphan = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        update(task["task_id"], "TASK_RUNNING", message=str(orphan.pid))
        return
    if does == "mute":
        return
    deaf = does == "deaf"
    update(task["task_id"], "TASK_RUNNING")
    if does == "finish":
        update(task["task_id"], "TASK_FINISHED")


def handle(event):
    print(json.dumps(event), flush=True)
    if event["type"] == "LAUNCH":
        launch(event["launch"]["task"])
    elif event["type"] == "KILL":
        evicted = {
            "reason": "REASON_CONTAINER_PREEMPTED", "message": "evicted", "data": "eyJ3aHkiOjF9",
            "labels": {"labels": [{"key": "cause", "value": "cpu"}]},
        }  # fmt: skip
        update(event["kill"]["task_id"], "TASK_KILLED", **evicted)
    elif event["type"] == "ACKNOWLEDGED":
        updates.pop(event["acknowledged"]["uuid"], None)
        tasks.pop(event["acknowledged"]["task_id"]["value"], None)
    elif event["type"] == "MESSAGE":
        call("MESSAGE", message={"data": event["message"]["data"]})
    elif event["type"] == "SHUTDOWN":
        sys.exit(0)


def read_events():
    """Until the agent closes the stream, or refuses it."""
    unacknowledged = [{"status": each} for each in updates.values()]
    known = {"unacknowledged_tasks": list(tasks.values()), "unacknowledged_updates": unacknowledged}
    answer = call("SUBSCRIBE", subscribe=known)
    while answer.status == 200 and (length := answer.readline()):
        handle(json.loads(answer.read(int(length))))


def main():
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):  # The agent is gone, maybe within an event.
            read_events()
        if not WAITS:
            return
        while deaf:
            time.sleep(1)
        time.sleep(0.1)


main()

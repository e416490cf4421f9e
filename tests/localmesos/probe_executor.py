"""A small custom executor, run by Mesos in the tests: standard library only, `python -I probe_executor.py`.

A task's data (base64) says what it does: `run` runs until it is killed, `finish` ends at once,
`exit` ends the whole executor with status 3, `orphan` leaves a process in a session of its own.
"""

import base64
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
    answer = call("UPDATE", update={"status": status})
    if answer.status != 202:
        sys.exit(f"{state}: {answer.status} {answer.read()!r}")


def launch(task):
    does = base64.b64decode(task.get("data", "")).decode()
    if does == "exit":
        sys.exit(3)
    if does == "orphan":
        orphan = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        update(task["task_id"], "TASK_RUNNING", message=str(orphan.pid))
        return
    update(task["task_id"], "TASK_RUNNING")
    if does == "finish":
        update(task["task_id"], "TASK_FINISHED")


def main():
    answer = call("SUBSCRIBE", subscribe={"unacknowledged_tasks": [], "unacknowledged_updates": []})
    while length := answer.readline():
        event = json.loads(answer.read(int(length)))
        if event["type"] == "LAUNCH":
            launch(event["launch"]["task"])
        elif event["type"] == "KILL":
            evicted = {
                "reason": "REASON_CONTAINER_PREEMPTED", "message": "evicted", "data": "eyJ3aHkiOjF9",
                "labels": {"labels": [{"key": "cause", "value": "cpu"}]},
            }  # fmt: skip
            update(event["kill"]["task_id"], "TASK_KILLED", **evicted)
        elif event["type"] == "MESSAGE":
            call("MESSAGE", message={"data": event["message"]["data"]})
        elif event["type"] == "SHUTDOWN":
            return


main()

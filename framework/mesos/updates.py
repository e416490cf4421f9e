"""What a Mesos status update means for an attempt.  Pure: a status in, a state machine's event out.

The executor says why in the label ``serenity.reason`` and, of a kill, with the record in
``data``.  Where neither is there, Mesos' own state and reason are translated, and what they
do not say is left open.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from serenity.framework.jobs.job import Ended, Ending, Seen
from serenity.wire.mesos.resources import Json
from serenity.wire.mesos.scheduler import decode_data
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.kill_record import LABEL_REASON, KillRecord, RecordError
from serenity.wire.messages.reasons import Payer, Reason
from serenity.wire.messages.task_end import TaskEnd

_ALIVE = {
    "TASK_RUNNING": AttemptState.RUNNING,
    "TASK_KILLING": AttemptState.KILLING,
    "TASK_UNREACHABLE": AttemptState.UNREACHABLE,
}
# Known to Mesos, and nothing has changed for us.
_NO_NEWS = frozenset({"TASK_STAGING", "TASK_STARTING"})

# Mesos' reasons (include/mesos/v1/mesos.proto) that say more than the state does.
_BY_MESOS_REASON = {
    "REASON_COMMAND_EXECUTOR_FAILED": Reason.COMMAND_FAILED,
    "REASON_CONTAINER_LIMITATION_DISK": Reason.DISK_LIMIT,
    "REASON_CONTAINER_LIMITATION_MEMORY": Reason.MEMORY_LIMIT,
    "REASON_CONTAINER_PREEMPTED": Reason.PREEMPTED_BY_MESOS,
    # The container is the executor's: these reasons are no fault of the task's command.
    "REASON_CONTAINER_LAUNCH_FAILED": Reason.EXECUTOR_LOST,
    "REASON_CONTAINER_UPDATE_FAILED": Reason.EXECUTOR_LOST,
    "REASON_EXECUTOR_REGISTRATION_TIMEOUT": Reason.EXECUTOR_LOST,
    "REASON_EXECUTOR_REREGISTRATION_TIMEOUT": Reason.EXECUTOR_LOST,
    "REASON_EXECUTOR_TERMINATED": Reason.EXECUTOR_LOST,
    "REASON_EXECUTOR_UNREGISTERED": Reason.EXECUTOR_LOST,
    "REASON_INVALID_OFFERS": Reason.LAUNCH_REFUSED,
    "REASON_RESOURCES_UNKNOWN": Reason.LAUNCH_REFUSED,
    "REASON_MAX_COMPLETION_TIME_REACHED": Reason.MAX_RUNTIME,
    "REASON_SLAVE_DISCONNECTED": Reason.AGENT_LOST,
    "REASON_SLAVE_REMOVED": Reason.AGENT_LOST,
    "REASON_SLAVE_REMOVED_BY_OPERATOR": Reason.AGENT_LOST,
    # A launch that never reached its executor, while the agent was away or the executor's stream.
    "REASON_SLAVE_RESTARTED": Reason.LAUNCH_REFUSED,
    "REASON_SLAVE_UNKNOWN": Reason.AGENT_LOST,
    "REASON_AGENT_DISCONNECTED": Reason.AGENT_LOST,
    "REASON_AGENT_REMOVED": Reason.AGENT_LOST,
    "REASON_AGENT_REMOVED_BY_OPERATOR": Reason.AGENT_LOST,
    "REASON_AGENT_RESTARTED": Reason.LAUNCH_REFUSED,
    "REASON_AGENT_UNKNOWN": Reason.AGENT_LOST,
    "REASON_SLAVE_DRAINING": Reason.AGENT_DRAINING,
    "REASON_AGENT_DRAINING": Reason.AGENT_DRAINING,
    "REASON_TASK_INVALID": Reason.LAUNCH_FAILED,
    "REASON_TASK_UNAUTHORIZED": Reason.LAUNCH_FAILED,
    "REASON_TASK_UNKNOWN": Reason.LOST,
}
# States that end a task with no more to say than themselves.
_BY_STATE = {
    "TASK_LOST": Reason.LOST,
    "TASK_DROPPED": Reason.LAUNCH_REFUSED,
    "TASK_GONE": Reason.LOST,
    "TASK_GONE_BY_OPERATOR": Reason.AGENT_LOST,
    "TASK_UNKNOWN": Reason.LOST,
    "TASK_ERROR": Reason.LAUNCH_FAILED,
}
# How Mesos words that somebody else took the resources first; under REASON_TASK_INVALID, like real errors.
_OUTBID = "more than available"


@dataclass(frozen=True, slots=True)
class Update:
    """A decoded status update.

    `event` is None when it is no news.  `doubtful`: the event ends the attempt, but rests on
    a word of the master's that may be mistaken, or without evidence that is still on its way;
    it is to be believed only when the master keeps to it.
    """

    task_id: str
    event: Seen | Ended | None
    doubtful: bool = False


def decode(status: Json) -> Update:
    """Raises KeyError when the status has no task id or state, which Mesos never sends."""
    task_id, state = str(status["task_id"]["value"]), str(status["state"])
    if state in _NO_NEWS:
        return Update(task_id, None)
    if state in _ALIVE:
        container = status.get("container_status", {}).get("container_id", {}).get("value")
        return Update(task_id, Seen(_ALIVE[state], container))
    if state == "TASK_FINISHED":
        ending = Ending(AttemptState.FINISHED, message=_message(status))
    else:
        ending = _bad_ending(state, status)
    ending = replace(ending, measured=TaskEnd.from_labels(_labels(status)))
    return Update(task_id, Ended(ending), doubtful=_doubtful(state, status))


def _doubtful(state: str, status: Json) -> bool:
    """Reconciliation ends a task only where the agent itself is known not to have it.

    TASK_UNKNOWN: after a master without its registry has started, agents that have not yet
    come back are unknown to it, and their tasks still run.  FINISHED, FAILED, KILLED: the
    executor's own update, with record and message, is on its way.  So is an update for
    whatever the master tells of an agent that has come back.
    """
    reason = status.get("reason")
    if reason in ("REASON_AGENT_REREGISTERED", "REASON_SLAVE_REREGISTERED"):
        return True
    return reason == "REASON_RECONCILIATION" and state in (
        "TASK_UNKNOWN",
        "TASK_FINISHED",
        "TASK_FAILED",
        "TASK_KILLED",
    )


def _bad_ending(state: str, status: Json) -> Ending:
    record, complaint = _record(status)
    message = "; ".join(part for part in (_message(status), complaint) if part)
    by_executor = status.get("source") == "SOURCE_EXECUTOR"
    reason = _said_by_executor(status, record) or _said_by_mesos(state, status)
    return Ending(
        _end_state(state, reason),
        reason,
        message,
        record,
        # A launch on a rescinded offer, or one that got lost, says nothing about the agent.
        avoid_s=reason.avoid_s if reason and (by_executor or reason is not Reason.LAUNCH_REFUSED) else 0.0,
    )


def _said_by_executor(status: Json, record: KillRecord | None) -> Reason | None:
    code = _labels(status).get(LABEL_REASON) or (record.reason if record else "")
    return Reason.__members__.get(code)


def _message(status: Json) -> str:
    """Without what no database takes: NUL, and half of a surrogate pair."""
    return str(status.get("message", "")).replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _labels(status: Json) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in status.get("labels", {}).get("labels", [])}


def _said_by_mesos(state: str, status: Json) -> Reason | None:
    if _OUTBID in _message(status) and state in ("TASK_ERROR", "TASK_LOST", "TASK_DROPPED"):
        return Reason.LAUNCH_REFUSED
    return _BY_MESOS_REASON.get(str(status.get("reason", ""))) or _BY_STATE.get(state)


def _end_state(state: str, reason: Reason | None) -> AttemptState:
    if reason is not None and reason.payer is Payer.JOB:
        return AttemptState.FAILED
    if state == "TASK_KILLED" or reason is Reason.PREEMPTED_BY_MESOS or (reason is not None and reason.by_qos):
        return AttemptState.KILLED
    if state == "TASK_FAILED" and reason is None:
        return AttemptState.FAILED
    return AttemptState.LOST


def _record(status: Json) -> tuple[KillRecord | None, str]:
    """The kill record in ``data``, or what is wrong with it, in words; both empty when there is no data."""
    data = status.get("data")
    if not data:
        return None, ""
    try:
        return KillRecord.decode(decode_data(data)), ""
    except RecordError as error:
        return None, str(error)
    except ValueError:
        return None, "its data is no base64"

"""Calls and events as Mesos frames them: the part of its schema that `mesos.interface` does not carry.

Read in Mesos' ``include/mesos/v1/{scheduler,executor,resource_provider}/*.proto``; which fields a call cannot do
without, in ``src/master/validation.cpp``, ``src/common/validation.cpp`` and ``src/resource_provider/validation.cpp``.

A field is written as its type, with ``!`` if it is required and ``*`` if it is repeated.  Calls that Serenity has no
use for are not here, and count as unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Fields = dict[str, str]
# By type; None: one that has no body of its own.
Kinds = dict[str, Fields | None]


@dataclass(frozen=True)
class Api:
    """One of the three v1 APIs.

    Attributes:
        sender: the fields of every call but SUBSCRIBE, which say who calls.
        sender_subscribes: which of them SUBSCRIBE must have as well.
        bodiless: calls that may come without the body that they could have.
        messages, enums: that only this API has.
    """

    calls: Kinds
    events: Kinds
    sender: Fields
    sender_subscribes: bool = False
    bodiless: frozenset[str] = frozenset()
    messages: dict[str, Fields] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)


SCHEDULER = Api(
    sender={"framework_id": "FrameworkID"},
    calls={
        "SUBSCRIBE": {"framework_info": "FrameworkInfo!", "suppressed_roles": "string*"},
        "TEARDOWN": None,
        "ACCEPT": {"offer_ids": "OfferID*", "operations": "Offer.Operation*", "filters": "Filters"},
        "DECLINE": {"offer_ids": "OfferID*", "filters": "Filters"},
        "ACCEPT_INVERSE_OFFERS": {"inverse_offer_ids": "OfferID*", "filters": "Filters"},
        "REVIVE": {"roles": "string*"},
        "SUPPRESS": {"roles": "string*"},
        "KILL": {"task_id": "TaskID!", "agent_id": "AgentID", "kill_policy": "KillPolicy"},
        "SHUTDOWN": {"executor_id": "ExecutorID!", "agent_id": "AgentID!"},
        "ACKNOWLEDGE": {"agent_id": "AgentID!", "task_id": "TaskID!", "uuid": "bytes!"},
        "RECONCILE": {"tasks": "ReconciledTask*"},
        "MESSAGE": {"agent_id": "AgentID!", "executor_id": "ExecutorID!", "data": "bytes!"},
    },
    events={
        "SUBSCRIBED": {
            "framework_id": "FrameworkID!",
            "heartbeat_interval_seconds": "double",
            "master_info": "MasterInfo",
        },
        "OFFERS": {"offers": "Offer*"},
        "INVERSE_OFFERS": {"inverse_offers": "InverseOffer*"},
        "RESCIND": {"offer_id": "OfferID!"},
        "RESCIND_INVERSE_OFFER": {"inverse_offer_id": "OfferID!"},
        "UPDATE": {"status": "TaskStatus!"},
        "MESSAGE": {"agent_id": "AgentID!", "executor_id": "ExecutorID!", "data": "bytes!"},
        "FAILURE": {"agent_id": "AgentID", "executor_id": "ExecutorID", "status": "int32"},
        "ERROR": {"message": "string!"},
        "HEARTBEAT": None,
    },
    bodiless=frozenset({"REVIVE", "SUPPRESS"}),
    messages={"ReconciledTask": {"task_id": "TaskID!", "agent_id": "AgentID"}},
)

EXECUTOR = Api(
    sender={"framework_id": "FrameworkID", "executor_id": "ExecutorID"},
    sender_subscribes=True,
    calls={
        "SUBSCRIBE": {"unacknowledged_tasks": "TaskInfo*", "unacknowledged_updates": "Call.Update*"},
        "UPDATE": {"status": "TaskStatus!"},
        "MESSAGE": {"data": "bytes!"},
        "HEARTBEAT": None,
    },
    events={
        "SUBSCRIBED": {
            "executor_info": "ExecutorInfo!",
            "framework_info": "FrameworkInfo!",
            "agent_info": "AgentInfo!",
            "container_id": "ContainerID",
        },
        "LAUNCH": {"task": "TaskInfo!"},
        "LAUNCH_GROUP": {"task_group": "TaskGroupInfo!"},
        "KILL": {"task_id": "TaskID!", "kill_policy": "KillPolicy"},
        "ACKNOWLEDGED": {"task_id": "TaskID!", "uuid": "bytes!"},
        "MESSAGE": {"data": "bytes!"},
        "ERROR": {"message": "string!"},
        "SHUTDOWN": None,
        "HEARTBEAT": None,
    },
)

PROVIDER = Api(
    sender={"resource_provider_id": "ResourceProviderID"},
    calls={
        "SUBSCRIBE": {"resource_provider_info": "ResourceProviderInfo!"},
        "UPDATE_STATE": {"operations": "Operation*", "resources": "Resource*", "resource_version_uuid": "UUID!"},
        "UPDATE_PUBLISH_RESOURCES_STATUS": {"uuid": "UUID!", "status": "PublishStatus!"},
    },
    events={
        "SUBSCRIBED": {"provider_id": "ResourceProviderID!"},
        "PUBLISH_RESOURCES": {"uuid": "UUID!", "resources": "Resource*"},
        "ACKNOWLEDGE_OPERATION_STATUS": {"status_uuid": "UUID!", "operation_uuid": "UUID!"},
        "RECONCILE_OPERATIONS": {"operation_uuids": "UUID*"},
        "TEARDOWN": None,
    },
    enums={"PublishStatus": ("UNKNOWN", "OK", "FAILED")},
)

# By the word that a recorded line has for the side.
APIS = {"scheduler": SCHEDULER, "executor": EXECUTOR, "provider": PROVIDER}

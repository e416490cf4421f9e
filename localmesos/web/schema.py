"""The messages that calls of Mesos' v1 APIs are made of: which fields there are, of what type, which are required.

Read off ``include/mesos/v1/*.proto`` of Mesos 1.11.  A field is written ``name:type``; ``name!`` must be
there, ``name*`` is a list, ``name{}`` a map by strings, and ``name:type=value`` has that value if it is left
out.  A type is a scalar (string, bytes, double, int, bool), an enumeration, another message, or ``any``:
what localmesos takes as it comes and does not look into.
"""

from __future__ import annotations

ENUMERATIONS: dict[str, frozenset[str]] = {
    name: frozenset(values.split())
    for name, values in {
        "Scheduler call": "UNKNOWN SUBSCRIBE TEARDOWN ACCEPT DECLINE ACCEPT_INVERSE_OFFERS DECLINE_INVERSE_OFFERS"
        " REVIVE KILL SHUTDOWN ACKNOWLEDGE ACKNOWLEDGE_OPERATION_STATUS RECONCILE RECONCILE_OPERATIONS MESSAGE"
        " REQUEST SUPPRESS UPDATE_FRAMEWORK",
        "Executor call": "UNKNOWN SUBSCRIBE UPDATE MESSAGE HEARTBEAT",
        "Provider call": "UNKNOWN SUBSCRIBE UPDATE_OPERATION_STATUS UPDATE_STATE UPDATE_PUBLISH_RESOURCES_STATUS",
        "Operation type": "UNKNOWN LAUNCH LAUNCH_GROUP RESERVE UNRESERVE CREATE DESTROY GROW_VOLUME SHRINK_VOLUME"
        " CREATE_DISK DESTROY_DISK",
        "Capability type": "UNKNOWN REVOCABLE_RESOURCES TASK_KILLING_STATE GPU_RESOURCES SHARED_RESOURCES"
        " PARTITION_AWARE MULTI_ROLE RESERVATION_REFINEMENT REGION_AWARE",
        "Task state": "TASK_STAGING TASK_STARTING TASK_RUNNING TASK_KILLING TASK_FINISHED TASK_FAILED TASK_KILLED"
        " TASK_ERROR TASK_LOST TASK_DROPPED TASK_UNREACHABLE TASK_GONE TASK_GONE_BY_OPERATOR TASK_UNKNOWN",
        "Source": "SOURCE_MASTER SOURCE_AGENT SOURCE_EXECUTOR",
        "Reason": "REASON_COMMAND_EXECUTOR_FAILED REASON_CONTAINER_LAUNCH_FAILED REASON_CONTAINER_LIMITATION"
        " REASON_CONTAINER_LIMITATION_DISK REASON_CONTAINER_LIMITATION_MEMORY REASON_CONTAINER_PREEMPTED"
        " REASON_CONTAINER_UPDATE_FAILED REASON_MAX_COMPLETION_TIME_REACHED REASON_EXECUTOR_REGISTRATION_TIMEOUT"
        " REASON_EXECUTOR_REREGISTRATION_TIMEOUT REASON_EXECUTOR_TERMINATED REASON_EXECUTOR_UNREGISTERED"
        " REASON_FRAMEWORK_REMOVED REASON_GC_ERROR REASON_INVALID_FRAMEWORKID REASON_INVALID_OFFERS"
        " REASON_IO_SWITCHBOARD_EXITED REASON_MASTER_DISCONNECTED REASON_RECONCILIATION REASON_RESOURCES_UNKNOWN"
        " REASON_AGENT_DISCONNECTED REASON_AGENT_DRAINING REASON_AGENT_REMOVED REASON_AGENT_REMOVED_BY_OPERATOR"
        " REASON_AGENT_REREGISTERED REASON_AGENT_RESTARTED REASON_AGENT_UNKNOWN REASON_TASK_KILLED_DURING_LAUNCH"
        " REASON_TASK_CHECK_STATUS_UPDATED REASON_TASK_HEALTH_CHECK_STATUS_UPDATED REASON_TASK_GROUP_INVALID"
        " REASON_TASK_GROUP_UNAUTHORIZED REASON_TASK_INVALID REASON_TASK_UNAUTHORIZED REASON_TASK_UNKNOWN",
        "Value type": "SCALAR RANGES SET TEXT",
        "Reservation type": "UNKNOWN STATIC DYNAMIC",
        "Executor type": "UNKNOWN DEFAULT CUSTOM",
        "Variable type": "UNKNOWN VALUE SECRET",
        "Visibility": "FRAMEWORK CLUSTER EXTERNAL",
        "Protocol": "IPv4 IPv6",
        "Publication status": "UNKNOWN OK FAILED",
    }.items()
}

MESSAGES: dict[str, str] = {
    # The calls.
    "scheduler::Call": "framework_id:Id type:Scheduler_call subscribe:Subscribe accept:Accept decline:Decline"
    " accept_inverse_offers:any decline_inverse_offers:any revive:Roles kill:Kill shutdown:ShutdownExecutor"
    " acknowledge:Acknowledge acknowledge_operation_status:any reconcile:Reconcile reconcile_operations:any"
    " message:MessageToExecutor request:any suppress:Roles update_framework:Subscribe",
    "Subscribe": "framework_info!:FrameworkInfo suppressed_roles*:string offer_constraints:any",
    "Accept": "offer_ids*:Id operations*:Operation filters:Filters",
    "Decline": "offer_ids*:Id filters:Filters",
    "Roles": "roles*:string",
    "Kill": "task_id!:Id agent_id:Id kill_policy:KillPolicy",
    "ShutdownExecutor": "executor_id!:Id agent_id!:Id",
    "Acknowledge": "agent_id!:Id task_id!:Id uuid!:bytes",
    "Reconcile": "tasks*:ReconciledTask",
    "ReconciledTask": "task_id!:Id agent_id:Id",
    "MessageToExecutor": "agent_id!:Id executor_id!:Id data!:bytes",
    "Executor::Call": "executor_id!:Id framework_id!:Id type:Executor_call subscribe:SubscribeExecutor"
    " update:Update message:MessageToFramework",
    "SubscribeExecutor": "unacknowledged_tasks*:TaskInfo unacknowledged_updates*:Update",
    "Update": "status!:TaskStatus",
    "MessageToFramework": "data!:bytes",
    "resource_provider::Call": "resource_provider_id:Id type:Provider_call subscribe:SubscribeProvider"
    " update_operation_status:any update_state:UpdateState update_publish_resources_status:PublicationStatus",
    "SubscribeProvider": "resource_provider_info!:ResourceProviderInfo",
    "UpdateState": "operations*:any resources*:Resource resource_version_uuid!:Uuid",
    "PublicationStatus": "uuid!:Uuid status!:Publication_status",
    "master::Call": "type:string mark_agent_gone:MarkAgentGone",
    "MarkAgentGone": "agent_id!:Id",
    "agent::Call": "type:string",
    # What the calls are made of.
    "FrameworkInfo": "user!:string name!:string id:Id failover_timeout:double=0.0 checkpoint:bool=false role:string"
    " roles*:string hostname:string principal:string webui_url:string capabilities*:Capability labels:Labels"
    " offer_filters{}:any",
    "Capability": "type:Capability_type",
    "Operation": "type:Operation_type id:Id launch:Launch launch_group:LaunchGroup reserve:any unreserve:any"
    " create:any destroy:any grow_volume:any shrink_volume:any create_disk:any destroy_disk:any",
    "Launch": "task_infos*:TaskInfo",
    "LaunchGroup": "executor!:ExecutorInfo task_group!:TaskGroup",
    "TaskGroup": "tasks*:TaskInfo",
    "TaskInfo": "name!:string task_id!:Id agent_id!:Id resources*:Resource executor:ExecutorInfo command:CommandInfo"
    " container:any health_check:any check:any kill_policy:KillPolicy data:bytes labels:Labels"
    " discovery:DiscoveryInfo max_completion_time:Duration limits{}:Scalar",
    "ExecutorInfo": "type:Executor_type executor_id!:Id framework_id:Id command:CommandInfo container:any"
    " resources*:Resource name:string source:string data:bytes discovery:DiscoveryInfo"
    " shutdown_grace_period:Duration labels:Labels",
    "CommandInfo": "uris*:Uri environment:Environment shell:bool=true value:string arguments*:string user:string",
    "Uri": "value!:string executable:bool extract:bool=true cache:bool output_file:string",
    "Environment": "variables*:Variable",
    "Variable": 'name!:string type:Variable_type="VALUE" value:string secret:any',
    "DiscoveryInfo": "visibility!:Visibility name:string environment:string location:string version:string"
    " ports:any labels:Labels",
    "TaskStatus": "task_id!:Id state!:Task_state message:string source:Source reason:Reason data:bytes agent_id:Id"
    " executor_id:Id timestamp:double uuid:bytes healthy:bool check_status:any labels:Labels"
    " container_status:ContainerStatus unreachable_time:Duration limitation:any",
    "ContainerStatus": "container_id:any network_infos*:NetworkInfo cgroup_info:any executor_pid:int",
    "NetworkInfo": "ip_addresses*:IpAddress name:string groups*:string labels:Labels port_mappings*:any",
    "IpAddress": 'protocol:Protocol="IPv4" ip_address:string',
    "ResourceProviderInfo": "id:Id attributes*:any type!:string name!:string default_reservations*:Reservation"
    " storage:any",
    "Resource": "provider_id:Id name!:string type!:Value_type scalar:Scalar ranges:Ranges set:Set role:string"
    " allocation_info:AllocationInfo reservation:Reservation reservations*:Reservation disk:any revocable:any"
    " shared:any",
    "Scalar": "value!:double",
    "Ranges": "range*:Range",
    "Range": "begin!:int end!:int",
    "Set": "item*:string",
    "AllocationInfo": "role:string",
    "Reservation": "type:Reservation_type role:string principal:string labels:Labels",
    "Filters": "refuse_seconds:double=5.0",
    "KillPolicy": "grace_period:Duration",
    "Duration": "nanoseconds!:int",
    "Labels": "labels*:Label",
    "Label": "key!:string value:string",
    "Id": "value!:string",
    "Uuid": "value!:bytes",
}

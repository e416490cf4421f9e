"""Master and agent as state machines, joined: no processes, no network, a clock that is set."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from serenity.localmesos.agent.agent import Agent
from serenity.localmesos.agent.checkpoint import recovered
from serenity.localmesos.agent.executor_launch import AgentSettings
from serenity.localmesos.master.master import Master
from serenity.localmesos.master.state import MasterSettings
from serenity.localmesos.messages import (
    Checkpoint,
    Close,
    DestroyContainer,
    EndAgent,
    ForAgent,
    Forget,
    LaunchContainer,
    RecoverContainers,
    Send,
    ToMaster,
)
from serenity.localmesos.resource_flag import parse_resources
from serenity.localmesos.web.protobuf_json import message
from serenity.wire.mesos.resources import Resources

INFO = {"id": "m", "ip": 0, "port": 1, "hostname": "h", "pid": "master@h:1", "address": {"ip": "h"}, "capabilities": []}
CAPABILITIES = [{"type": each} for each in ("REVOCABLE_RESOURCES", "PARTITION_AWARE", "MULTI_ROLE")]
EXECUTOR = {"executor_id": {"value": "e"}, "command": {"value": "run"}}
UUIDS = [base64.b64encode(bytes([n]) * 16).decode() for n in range(9)]


class World:
    """Both machines joined; what they want of the world is noted."""

    def __init__(self, **master_settings):
        self.now_s = 1000.0
        settings = MasterSettings(allocation_interval_s=0.2, **master_settings)
        self.master = Master(INFO, lambda: self.now_s, settings)
        self.settings = AgentSettings("m-S0", "h", "h", 2, Path("/w"), parse_resources("cpus:2;mem:1024"), "/imports")
        self.events = []  # (stream id, event)
        self.closed = []
        self.launched = []
        self.destroyed = []
        self.recovered = []
        self.ended = []
        self.files = {}  # What is checkpointed.
        self.agent = Agent(self.settings, lambda: self.now_s)
        self.run()

    def kill_agent(self):
        self.agent = None
        self.master.agent_disconnected("m-S0")
        self.run()

    def start_agent(self):
        """From what was written down, and nothing else."""
        files = json.loads(json.dumps(self.files))
        self.agent = Agent(self.settings, lambda: self.now_s, recovered(files, self.settings))
        self.run()

    def run(self, seconds=0.0):
        self.now_s += seconds
        self.master.tick()
        if self.agent is not None:
            self.agent.tick()
        while self._carry_out_all(self.master) or (self.agent is not None and self._carry_out_all(self.agent)):
            pass

    def _carry_out_all(self, machine):
        """Whether there was anything."""
        effects = machine.outbox.copy()
        machine.outbox.clear()
        for effect in effects:
            if machine is self.agent:
                self.next_of_agent()
            self._carry_out(effect)
        return bool(effects)

    def next_of_agent(self):
        """The agent's next effect is about to happen."""

    def _carry_out(self, effect):
        noted = {LaunchContainer: self.launched, RecoverContainers: self.recovered, EndAgent: self.ended}
        if isinstance(effect, Send):
            self.events.append((effect.stream_id, effect.event))
        elif isinstance(effect, Close):
            self.closed.append(effect.stream_id)
        elif isinstance(effect, DestroyContainer):
            self.destroyed.append(effect.container_id)
        elif type(effect) in noted:
            noted[type(effect)].append(effect)
        elif isinstance(effect, Checkpoint):
            self.files[effect.path] = effect.content
        elif isinstance(effect, Forget):
            self.files = {path: each for path, each in self.files.items() if not path.startswith(effect.path + "/")}
        elif isinstance(effect, ToMaster):
            self.master.receive("m-S0", effect)
        elif isinstance(effect, ForAgent) and self.agent is not None:
            self.agent.receive(effect.message)

    def take(self, stream_id, kind=None):
        """The events of a stream so far, which are then forgotten; those of one kind if it is given."""
        mine = [event for to, event in self.events if to == stream_id]
        self.events = [(to, event) for to, event in self.events if to != stream_id]
        return [event for event in mine if kind in (None, event["type"])]

    def subscribe(self, stream_id="s", framework_id=None, failover_timeout_s=10.0, **info):
        info = {
            "user": "",
            "name": "",
            "roles": ["*"],
            "capabilities": CAPABILITIES,
            "checkpoint": True,
            "failover_timeout": failover_timeout_s,
            **info,
        }
        call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if framework_id is not None:
            info["id"] = call["framework_id"] = {"value": framework_id}
        self.master.subscribe(stream_id, message(call, "scheduler::Call"))
        self.run()

    def call(self, kind, stream_id="s", framework_id="m-0000", **body):
        call = {"type": kind, "framework_id": {"value": framework_id}, **body}
        self.master.call(stream_id, message(call, "scheduler::Call"))
        self.run()

    def launch(self, *task_ids, offer, more_offers=()):
        tasks = [
            {
                "name": "",
                "task_id": {"value": task_id},
                "agent_id": {"value": "m-S0"},
                "resources": Resources.scalar("cpus", 0.5).to_json(),
                "executor": {**EXECUTOR, "resources": Resources.scalar("cpus", 0.1).to_json()},
            }
            for task_id in task_ids
        ]
        operations = [{"type": "LAUNCH", "launch": {"task_infos": tasks}}]
        self.call("ACCEPT", accept={"offer_ids": [offer["id"], *more_offers], "operations": operations})

    def offers(self, stream_id="s"):
        return [offer for event in self.take(stream_id, "OFFERS") for offer in event["offers"]["offers"]]

    def executor_call(self, kind, **body):
        ids = {"framework_id": {"value": "m-0000"}, "executor_id": {"value": "e"}}
        self.agent.executor_calls.call(message({"type": kind, **ids, **body}, "Executor::Call"))
        self.run()

    def executor_subscribe(self, stream_id="x", **subscribe):
        ids = {"framework_id": {"value": "m-0000"}, "executor_id": {"value": "e"}}
        call = message({"type": "SUBSCRIBE", **ids, "subscribe": subscribe}, "Executor::Call")
        self.agent.executor_calls.subscribe(stream_id, call)
        self.run()

    def update(self, task_id, state, uuid):
        status = {"task_id": {"value": task_id}, "state": state, "uuid": uuid, "source": "SOURCE_EXECUTOR"}
        self.executor_call("UPDATE", update={"status": status})

    def acknowledge(self, task_id, uuid):
        acknowledge = {"agent_id": {"value": "m-S0"}, "task_id": {"value": task_id}, "uuid": uuid}
        self.call("ACKNOWLEDGE", acknowledge=acknowledge)

    def states(self, stream_id="s"):
        statuses = [event["update"]["status"] for event in self.take(stream_id, "UPDATE")]
        return [(each["task_id"]["value"], each["state"]) for each in statuses]

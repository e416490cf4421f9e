"""A core over a store on disk, whose rounds a test makes one by one."""

from __future__ import annotations

from serenity.framework.core import Core, CoreConfig
from serenity.framework.store.store import Store
from serenity.wire.messages.api import JobRequest
from serenity.wire.messages.kill_record import LABEL_REASON
from tests.manual_clock import ManualClock

CONFIG = CoreConfig("serenity executor", {}, executor_cpus=0.1, executor_mem_mb=128.0, reconcile_every_s=600.0)


class Life:
    """A core over a store on disk; `restart` is what a crash leaves: the store."""

    def __init__(self, path, config=CONFIG):
        self.config = config
        self.clock = ManualClock(now_s=1_800_000_000.0)
        self._path = path
        self.calls: list = []
        self.store = None
        self.restart()

    def restart(self):
        if self.store is not None:
            self.store.close()
        self.store = Store(f"sqlite:///{self._path / 'f.db'}")
        self.store.open()
        self.core = Core(self.store.load(), self.config, self.clock)

    def round(self, commit=True):
        done = self.core.end_round()
        if commit:
            self.store.commit(done.changes)
        self.calls = list(done.calls)
        return done

    def subscribe(self):
        self.core.subscription_began("F1")
        return self.round()

    def submit(self, **request):
        asks = {"cpus": 0.5, "mem_bytes": 32 << 20, **request}
        job = self.core.submit(JobRequest(command=("sleep", "1"), **asks))
        self.round()
        return job.id

    def offer(self, *arguments, **more):
        self.core.offered([made_offer(*arguments, **more)])

    def launch(self, **request):
        """One job of one instance, launched; its task id."""
        job = self.submit(**request)
        self.offer()
        self.round()
        return f"{job}.0.1"

    def update(self, task_id, state, uuid="u1", **fields):
        status = {"task_id": {"value": task_id}, "agent_id": {"value": "S0"}, "state": state, **fields}
        self.core.updated({**status, "uuid": uuid} if uuid else status)
        return self.round()

    def reconciled(self, task_id, state):
        return self.update(task_id, state, uuid=None, reason="REASON_RECONCILIATION", source="SOURCE_MASTER")

    def of_kind(self, kind):
        return [each for each in self.calls if isinstance(each, kind)]

    def job(self, task_id):
        (job,) = self.store.find(task_id.split(".")[0])
        return job


def made_offer(agent="S0", cpus=4.0, executors=(), provider="p", **more):
    slack = {"revocable": {}, "provider_id": {"value": provider}, "type": "SCALAR"}
    return {
        "id": {"value": f"O-{agent}"},
        "agent_id": {"value": agent},
        "hostname": f"host-{agent}",
        "url": {"address": {"ip": "10.0.0.1", "port": 5051}},
        "resources": [
            {"name": "cpus", "scalar": {"value": cpus}, **slack},
            {"name": "mem", "scalar": {"value": 4096.0}, **slack},
        ],
        "executor_ids": [{"value": each} for each in executors],
        **more,
    }


def labelled(reason):
    return {"labels": {"labels": [{"key": LABEL_REASON, "value": reason}]}, "source": "SOURCE_EXECUTOR"}

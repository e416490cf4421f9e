"""The framework as a whole: store, core, loop, connection to Mesos, and what the API asks of them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

from serenity.daemon.clock import Clock
from serenity.framework import logs, metrics, nodes
from serenity.framework.calls import Call
from serenity.framework.core import Core, CoreConfig, UnknownJob
from serenity.framework.jobs import Attempt
from serenity.framework.loop import Loop
from serenity.framework.scheduler import Callbacks, Sender, framework_info
from serenity.framework.settings import FrameworkSettings
from serenity.framework.store import Changes, Store
from serenity.framework.store_worker import StoreWorker
from serenity.framework.views import attempt_view
from serenity.framework.watchers import Watchers
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.mesos.state import MasterReader
from serenity.wire.messages import api
from serenity.wire.messages.sandbox import Output
from serenity.wire.transport.access import access_of

logger = logging.getLogger(__name__)


class NoSuchJob(LookupError):  # noqa: N818 - reads as what it says
    """No job has that id or name; or it has ended, where only one that has not will do."""


class AmbiguousName(LookupError):  # noqa: N818
    def __init__(self, name: str, jobs: Sequence[api.Job]) -> None:
        super().__init__(f"{len(jobs)} jobs are called {name!r}; say which by its id")
        self.jobs = jobs


class Framework:
    """Starts in `start`, ends in `stop`; `failed` is called, once, when it cannot go on."""

    def __init__(
        self,
        settings: FrameworkSettings,
        executor_environment: Mapping[str, str],
        clock: Clock,
        failed: Callable[[str], None],
    ) -> None:
        """Opens the store.  Raises StoreError, or UnusableFile for what the settings say of TLS and the secret."""
        self.settings = settings
        self.metrics = metrics.table()
        self._clock = clock
        self._failed = failed
        self._access = access_of(settings)
        self._store = StoreWorker(Store(settings.database))
        snapshot = self._store.run(lambda store: store.load())
        config = CoreConfig(
            executor_command=settings.executor_command,
            executor_environment=dict(executor_environment),
            executor_cpus=settings.executor_cpus,
            executor_mem_mb=settings.executor_mem_mb,
            reconcile_every_s=settings.reconcile_every_s,
        )
        core = Core(snapshot, config, clock)
        self.watchers = Watchers(self._read_events, core.last_event_id, self.metrics)
        self._loop = Loop(core, self._store.commit, self._send, self._committed, clock, self.metrics)
        self._driver, self._sender = self._connect(snapshot.framework_id)
        if snapshot.jobs:
            logger.info("%d jobs have not ended; going on with them", len(snapshot.jobs))

    @property
    def master(self) -> str:
        """As people are shown it: the setting without ZooKeeper's password."""
        return str(self._driver.leading)

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop.start()
        threading.Thread(target=self._watch_loop, name="watch over the loop", daemon=True).start()
        self._sender.start()
        self._driver.start()

    def stop(self) -> None:
        """Leaves Mesos its tasks: only the subscription ends."""
        self.watchers.close()
        self._driver.stop()
        self._loop.stop()
        self._sender.stop()
        self._store.close()

    def _connect(self, framework_id: str | None) -> tuple[SchedulerDriver, Sender]:
        driver = SchedulerDriver(
            Callbacks(self._loop, self._mesos_ended_it),
            framework_info(self.settings, framework_id, socket.gethostname(), self._access.principal),
            self.settings.master,
            access=self._access,
        )
        return driver, Sender(driver, self.metrics)

    def _watch_loop(self) -> None:
        self._loop.ended.wait()
        if self._loop.failure is not None:
            self._failed(self._loop.failure)

    def _mesos_ended_it(self, message: str) -> None:
        """Called in the driver's thread, which is about to end."""
        if "Framework has been removed" not in message:
            self._failed(f"the Mesos master at {self.master} does not take this framework: {message}")
            return
        logger.warning("Mesos has removed the framework and ended its tasks; registering as a new one")
        self._loop.tell(lambda core: core.framework_removed())  # Before anything that the new connection tells.
        self._sender.stop()
        self._driver, self._sender = self._connect(None)
        self._sender.start()
        self._driver.start()

    def _send(self, calls: Sequence[Call]) -> None:
        self._sender.send(calls)

    def _committed(self, changes: Changes) -> None:
        if changes.events:
            self.watchers.tell(changes.events[-1].id)

    # -- what the API asks ---------------------------------------------------------------------

    def submit(self, request: api.JobRequest) -> api.Job:
        """Returns when the job is stored.  Raises StoreError or TimeoutError."""
        return self._loop.ask(lambda core: core.submit(request))

    def find(self, id_or_name: str) -> api.Job:
        """Raises NoSuchJob or AmbiguousName."""
        jobs = self._store.run(lambda store: store.find(id_or_name))
        if not jobs:
            raise NoSuchJob(f"there is no job {id_or_name!r}; `serenity list --all` shows all there are")
        if len(jobs) > 1:
            raise AmbiguousName(id_or_name, jobs)
        return jobs[0]

    def jobs(self, limit: int, ended: bool | None) -> api.Jobs:
        return self._store.run(lambda store: store.jobs(limit, ended))

    def detail(self, id_or_name: str) -> api.JobDetail:
        """Raises NoSuchJob or AmbiguousName."""
        job = self.find(id_or_name)
        attempts = self._store.run(lambda store: store.attempts(job.id))
        return api.JobDetail(job=job, attempts=tuple(attempt_view(each) for each in attempts))

    def kill(self, id_or_name: str) -> api.Job:
        """Of a job that has ended nothing changes.  Raises NoSuchJob or AmbiguousName."""
        job = self.find(id_or_name)
        try:
            return self._loop.ask(lambda core: core.kill(job.id))
        except UnknownJob:
            return self.find(job.id)

    def why(self, id_or_name: str) -> api.Why:
        """Raises NoSuchJob or AmbiguousName."""
        job = self.find(id_or_name)
        try:
            return api.Why(job=job, lines=self._loop.ask(lambda core: core.why(job.id)))
        except UnknownJob:
            return api.Why(job=job, lines=(f"it has {job.state}",))

    def log(
        self, id_or_name: str, instance: int, number: int | None, output: Output, offset: int | None, lines: int
    ) -> api.Log:
        """From `offset` on, or with None the last `lines` lines.

        Raises:
            NoSuchJob, AmbiguousName, logs.NoLog, Unreachable, HttpError
        """
        job = self.find(id_or_name)
        attempt: Attempt | None = self._store.run(lambda store: store.attempt(job.id, instance, number))
        if attempt is None:
            asked = f"instance {instance}" + (f" attempt {number}" if number is not None else "")
            raise NoSuchJob(f"job {job.name} ({job.id}) has no {asked}; `serenity show {job.id}` lists them")
        framework_id = self._loop.ask(lambda core: core.framework_id) or ""
        if offset is None:
            return logs.tail(attempt, framework_id, output, lines, self._access)
        return logs.read(attempt, framework_id, output, offset, self._access)

    def nodes(self) -> api.Nodes:
        """Raises Unreachable or HttpError."""
        tasks = self._loop.ask(lambda core: core.tasks_on())
        return nodes.nodes(MasterReader(self._driver.leading, access=self._access).agents(), tasks)

    def health(self) -> api.Health:
        from serenity import __version__

        driver = self._driver
        self.metrics.set("serenity_framework_subscribed", float(driver.subscribed))
        return self._loop.ask(
            lambda core: api.Health(
                version=__version__,
                framework_id=core.framework_id,
                master=self.master,
                subscribed=core.subscribed,
                trouble=driver.trouble,
                jobs=core.jobs_alive,
            )
        )

    def _read_events(self, after: int, limit: int, job_id: str | None) -> list[api.Event]:
        return self._store.run(lambda store: store.events(after, limit, job_id))

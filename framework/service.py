"""The framework as a whole: who leads, what is done while this instance does, and what the API asks.

On PostgreSQL several instances may run.  One leads, for a `Term`; the others stand by: they
answer what the store knows, send all else to the leader, and look every second whether the
lead is free.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec

from serenity import __version__
from serenity.daemon.clock import Clock
from serenity.framework import metrics
from serenity.framework.core import CoreConfig, UnknownJob, same_job
from serenity.framework.estimators import view
from serenity.framework.jobs import why
from serenity.framework.jobs.job import Attempt
from serenity.framework.jobs.views import attempt_view, one_line
from serenity.framework.mesos import logs, nodes
from serenity.framework.placement.holds import Hold
from serenity.framework.settings import FrameworkSettings
from serenity.framework.store.changes import Changes
from serenity.framework.store.errors import StoreBusyError, StoreError, StoreLostError
from serenity.framework.store.store import Store
from serenity.framework.store.worker import StoreWorker
from serenity.framework.term import Term
from serenity.framework.watchers import Watchers
from serenity.wire.mesos.leader import leading_master
from serenity.wire.mesos.state import MasterReader
from serenity.wire.messages import api
from serenity.wire.messages.antagonists import Antagonists
from serenity.wire.messages.hints import Hints
from serenity.wire.messages.sandbox import Output
from serenity.wire.messages.slo import Service, Services, SloReport
from serenity.wire.transport.access import access_of

logger = logging.getLogger(__name__)

# How often an instance looks whether the lead is free, or still its own.
_LOOK_S = 1.0
# So many of a job's attempts, when somebody asks why it does not run.
_LAST_ENDS = 20


class NoSuchJob(LookupError):  # noqa: N818 - reads as what it says
    """No job has that id or name; or the job has ended, where only a live one will do."""


class AmbiguousName(LookupError):  # noqa: N818
    def __init__(self, name: str, jobs: Sequence[api.Job]) -> None:
        super().__init__(f"{len(jobs)} jobs are called {name!r}; say which by its id")
        self.jobs = jobs


class NotLeading(Exception):  # noqa: N818
    """Only the instance that leads can do this; `leader` is its URL, as far as anybody knows."""

    def __init__(self, leader: str | None) -> None:
        where = f"the one at {leader} does" if leader else "none does just now; try again"
        super().__init__(f"this instance of the framework stands by, and does not lead: {where}")
        self.leader = leader


class CannotGoOn(Exception):  # noqa: N818
    """Neither this instance nor any other can; one line for the operator."""


class Framework:
    """Starts in `start`, ends in `stop`; `failed` is called, once, when it cannot go on."""

    def __init__(
        self,
        settings: FrameworkSettings,
        executor_environment: Mapping[str, str],
        clock: Clock,
        failed: Callable[[str], None],
        estimator_environment: Mapping[str, str] | None = None,
    ) -> None:
        """Opens the store.  Raises StoreError, or UnusableFile for what the settings say of TLS and the secret."""
        self.settings = settings
        self.metrics = metrics.table()
        self._clock = clock
        self._failed = failed
        self._access = access_of(settings)
        self.master = str(leading_master(settings.master, self._access))  # As people are shown it: no password.
        self._config = CoreConfig(
            executor_command=settings.executor_command,
            executor_environment=dict(executor_environment),
            executor_cpus=settings.executor_cpus,
            executor_mem_mb=settings.executor_mem_mb,
            reconcile_every_s=settings.reconcile_every_s,
            role=settings.role,
            estimators=settings.estimators(dict(estimator_environment or {})),
        )
        self._store = StoreWorker(Store(settings.database))
        self.watchers = Watchers(self._read_events, 0, self.metrics, clock)
        self._stopping = threading.Event()
        self._submitting = threading.Lock()  # A job with an id of its client's.
        self._term = self._term_if_leading()

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        if self._term is not None:
            self._term.start()
        else:
            logger.info("another instance leads; standing by")
        threading.Thread(target=self._follow, name="who leads", daemon=True).start()

    def stop(self) -> None:
        """Leaves Mesos its tasks: only the subscription ends."""
        self._stopping.set()
        self.watchers.close()
        if self._term is not None:
            self._term.stop()
        self._store.close()

    def _term_if_leading(self) -> Term | None:
        """Takes the lead if it is free.  Raises StoreError."""
        if not self._store.run(lambda store: store.lead()):
            return None
        self._store.run(lambda store: store.announce(self.settings.url))
        term = Term(self.settings, self._config, self._access, self._store, self._committed, self._clock, self.metrics)
        self.watchers.tell(term.core.last_event_id)
        return term

    def _follow(self) -> None:
        """Goes from term to term, until the framework is stopped or cannot go on."""
        try:
            while not self._stopping.is_set():
                self._lead_or_stand_by()
        except (StoreError, CannotGoOn) as error:
            self._failed(str(error))
        except Exception as error:
            logger.exception("this is a bug in Serenity")
            self._failed(f"this is a bug in Serenity: {error!r}")

    def _lead_or_stand_by(self) -> None:
        """Raises StoreError or CannotGoOn when no other try would help."""
        try:
            if self._term is not None:
                self._lead(self._term)
            else:
                self._stand_by()
        except StoreLostError as error:
            self._connect_again(error)
        except StoreBusyError as error:
            logger.warning("%s", error)
            self._stopping.wait(_LOOK_S)

    def _lead(self, term: Term) -> None:
        """Until the term ends, or the framework is stopped.  Raises StoreLostError or CannotGoOn."""
        while not term.ended.wait(_LOOK_S if self._store.shared else None):
            if self._stopping.is_set():
                return
            self._store.run(lambda store: store.ping())  # Without commits nobody would learn of the loss.
        if term.failure is not None:
            raise CannotGoOn(term.failure)
        raise StoreLostError(term.deposed or "its term is over")

    def _stand_by(self) -> None:
        """One look whether the lead is free, and whether there is news for watchers."""
        term = self._term_if_leading()
        if term is not None:
            logger.warning("the lead was free: this instance leads now")
            self._term = term
            term.start()
            return
        try:
            self.watchers.tell(self._store.run(lambda store: store.last_event_id()))
        except StoreLostError:
            raise
        except StoreError as error:
            logger.debug("%s", error)  # Nobody has led yet; or it is just being migrated.
        self._stopping.wait(_LOOK_S)

    def _connect_again(self, error: StoreLostError) -> None:
        """Tries until the database answers; what that does not know yet, Mesos tells again."""
        term, self._term = self._term, None
        what = "this instance leads no longer" if term is not None else "standing by without the store"
        logger.error("%s: %s", what, error)
        if term is not None:
            term.stop()
        self._store.run(lambda store: store.close())
        while not self._stopping.wait(_LOOK_S):
            try:
                self._store.run(lambda store: store.open())
            except (StoreLostError, StoreBusyError):
                continue  # It was said already.
            logger.warning("the database answers again")
            return

    def _committed(self, changes: Changes) -> None:
        if changes.events:
            self.watchers.tell(changes.events[-1].id, changes.events)

    # -- what the API asks ---------------------------------------------------------------------

    def submit(self, request: api.JobRequest, owner: str | None = None) -> api.Job:
        """Returns the job when it is stored; for an id that was submitted before, the job of then.

        Raises:
            StoreError, LoopEnded, TimeoutError, or IdTaken
        """
        loop, submit_id = self._leading().loop, request.id
        if submit_id is None:
            return loop.ask(lambda core: core.submit(request, owner))
        with self._submitting:  # Else another could submit it, and see it end, between the look and the submission.
            known = self._store.run(lambda store: store.submitted_as(submit_id))
            if known is not None:
                return same_job(known, request, owner)
            return loop.ask(lambda core: core.submit(request, owner))

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
        """A job that has ended stays as it is.  Raises NoSuchJob or AmbiguousName."""
        job = self.find(id_or_name)
        try:
            return self._leading().loop.ask(lambda core: core.kill(job.id))
        except UnknownJob:
            return self.find(job.id)

    def why(self, id_or_name: str) -> api.Why:
        """Raises NoSuchJob or AmbiguousName."""
        job = self.find(id_or_name)
        ends = why.last_ends(self._store.run(lambda store: store.last_ended(job.id, _LAST_ENDS)), self._clock.now_s())
        try:
            lines = self._leading().loop.ask(lambda core: core.why(job.id))
        except UnknownJob:
            job = self.find(job.id)
            lines = (why.ended_text(job.state),)
        return api.Why(job=job, lines=lines + ends)

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
        framework_id = self._store.run(lambda store: store.framework_id()) or ""
        if offset is None:
            return logs.tail(attempt, framework_id, output, lines, self._access)
        return logs.read(attempt, framework_id, output, offset, self._access)

    def nodes(self) -> api.Nodes:
        """Raises Unreachable or HttpError."""
        term, monotonic_s, now_s = self._leading(), self._clock.monotonic_s(), self._clock.now_s()
        tasks, holds, estimators, halted = term.loop.ask(
            lambda core: (
                core.tasks_on(),
                core.holds,
                view.estimators(core.rollout, monotonic_s, now_s),
                core.rollout.halted,
            )
        )
        agents = MasterReader(term.driver.leading, access=self._access).agents()
        return api.Nodes(nodes=nodes.nodes(agents, tasks, holds, estimators), roll_out=halted or "")

    def hold_node(self, id_or_hostname: str, request: api.HoldRequest) -> api.Node:
        """Places nothing new on that agent, for as long as is asked.  Raises UnknownNode, Unreachable or HttpError."""
        node, now_s = nodes.find(self.nodes().nodes, id_or_hostname), self._clock.now_s()
        hold = Hold(node.id, node.hostname, one_line(request.reason), now_s, now_s + request.for_s)
        self._leading().loop.ask(lambda core: core.hold(hold))
        return msgspec.structs.replace(node, hold=nodes.hold_view(hold))

    def release_node(self, id_or_hostname: str) -> api.Node:
        """Ends the hold, if any; returns the agent as it was.  Raises UnknownNode, Unreachable or HttpError."""
        node = nodes.find(self.nodes().nodes, id_or_hostname)
        self._leading().loop.ask(lambda core: core.release(node.id))
        return node

    def hints(self) -> Hints:
        """The hints that hold.  Raises NotLeading."""
        now_s = self._clock.now_s()
        return Hints(hints=self._leading().loop.ask(lambda core: core.heard.hints.current(now_s)))

    def antagonists(self) -> Antagonists:
        """Raises NotLeading."""
        return Antagonists(antagonists=self._leading().loop.ask(lambda core: core.heard.cluster.confirmed()))

    def services(self) -> Services:
        """Raises NotLeading."""
        now_s = self._clock.now_s()
        return Services(services=self._leading().loop.ask(lambda core: core.heard.cluster.services(now_s)))

    def report_slo(self, who: str, report: SloReport) -> Service:
        """A production framework reports on its own service.  Raises NotLeading."""
        now_s = self._clock.now_s()
        service: Service = self._leading().loop.ask(lambda core: core.heard.cluster.reported(who, report, now_s))
        return service

    def health(self) -> api.Health:
        term = self._term
        self.metrics.set("serenity_framework_leading", float(term is not None))
        self.metrics.set("serenity_framework_subscribed", float(term is not None and term.driver.subscribed))
        monotonic_s, now_s = self._clock.monotonic_s(), self._clock.now_s()
        self._count_estimators(view.counts(term.core.rollout, monotonic_s, now_s) if term is not None else {})
        if term is None:
            framework_id, leader, jobs = self._store.run(
                lambda store: (store.framework_id(), store.leader(), store.jobs_alive())
            )
            return api.Health(
                version=__version__,
                framework_id=framework_id,
                master=self.master,
                subscribed=False,
                jobs=jobs,
                leading=False,
                leader=leader,
            )
        core = term.core  # Not by its loop, which may be waiting for the disk; these are plain values.
        return api.Health(
            version=__version__,
            framework_id=core.framework_id,
            master=self.master,
            subscribed=core.subscribed,
            trouble=term.trouble,
            jobs=core.jobs_alive,
        )

    def _count_estimators(self, counts: Mapping[str, int]) -> None:
        """An instance that leads no longer shows zeros; one that never had estimators does not show the gauge."""
        name = "serenity_framework_estimators"
        for state in view.STATES:
            if counts or self.metrics.value(name, state=state):
                self.metrics.set(name, float(counts.get(state, 0)), state=state)

    def _leading(self) -> Term:
        """Raises NotLeading."""
        term = self._term
        if term is None:
            leader = self._store.run(lambda store: store.leader())
            raise NotLeading(leader if leader != self.settings.url else None)  # It may be we who led last.
        return term

    def _read_events(self, after: int, limit: int, job_id: str | None) -> list[api.Event]:
        return self._store.run(lambda store: store.events(after, limit, job_id))

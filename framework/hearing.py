"""What executors tell beside status updates: corrections, outcomes of evictions, hints, statistics."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import msgspec

from serenity.framework.cluster.antagonists import Antagonist
from serenity.framework.cluster.cluster import Cluster
from serenity.framework.cluster.hints import HintBoard
from serenity.framework.cluster.known_jobs import HALF_LIFE_S
from serenity.framework.cluster.services import BIN_S, HISTORY_S
from serenity.framework.jobs.book import Book
from serenity.framework.jobs.job import Attempt, Job
from serenity.framework.jobs.views import correction_text
from serenity.framework.mesos.calls import Tell
from serenity.wire.messages import from_executor
from serenity.wire.messages.api import EventType
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.framework_message import MessageError
from serenity.wire.messages.statistics import Statistics

logger = logging.getLogger(__name__)

# Of samples from then a ten-thousandth is left.
_CPI_KEPT_S = 14 * HALF_LIFE_S


class Hearing:
    """Part of the core; what must be kept goes into the book's changes.  Times are seconds since the epoch."""

    def __init__(self, book: Book, cluster: Cluster) -> None:
        self.cluster = cluster
        self.hints = HintBoard()
        self._book = book

    def message(self, agent_id: str, hostname: str | None, executor_id: str, data: str, now_s: float) -> Tell | None:
        """`data` is base64; the answer, if there is one."""
        try:
            said = from_executor.decode(data)
        except MessageError as error:
            logger.warning("a message of executor %s on agent %s: %s", executor_id, agent_id, error)
            return None
        match said:
            case Outcome():
                self._book.conclude(said, now_s)
                self._confirm(self.cluster.concluded(said.record or "", said.outcome, now_s))
            case Statistics():
                known = self.cluster.told(agent_id, executor_id, said, now_s)
                return Tell(executor_id, agent_id, known.encode()) if known is not None else None
            case Correction(action="hint"):
                self._note_hint(said, agent_id, hostname, now_s)
            case Correction():
                self._note_correction(said, now_s)
        return None

    def ended(self, job: Job, attempt: Attempt, now_s: float) -> None:
        """That attempt has ended; its record may say for which production job's sake."""
        if attempt.ending is not None and attempt.ending.record is not None:
            self._confirm(self.cluster.evicted(attempt.ending.record, job.share_of, job.name, now_s))

    def forget(self, now_s: float) -> bool:
        """Forgets what is too old; whether there was anything."""
        over = self.cluster.antagonists.expire(now_s)
        for each in over:
            self._book.changes.antagonists.pop(each.key, None)
            self._book.changes.antagonists_over.add(each.key)
        return bool(over)

    def keep(self, now_s: float) -> None:
        """Has statistics of the cluster stored, every few minutes."""
        jobs, periods = self.cluster.to_keep(now_s)
        if jobs or periods:
            changes = self._book.changes
            changes.job_cpi |= {each.key: each for each in jobs}
            changes.slo_periods |= {each.key: each for each in periods}
            changes.statistics_over = now_s - _CPI_KEPT_S, now_s - HISTORY_S - BIN_S

    def avoided(self, cooling: Mapping[str, Collection[str]], now_s: float) -> Mapping[str, Collection[str]]:
        """Agents that cool down for a job, or where a production job lives that it has hurt; by id of a job in line."""
        users = {each.user for each in self.cluster.antagonists}
        if not users:
            return cooling
        avoided = dict(cooling)
        for job_id in {job_id for line in self._book.lines if line.user in users for job_id in line.jobs}:
            job = self._book.job(job_id)
            apart = self.apart(job, now_s) if job is not None else {}
            if apart:
                avoided[job_id] = {*avoided.get(job_id, ()), *apart}
        return avoided

    def apart(self, job: Job, now_s: float) -> Mapping[str, Antagonist]:
        """As `Cluster.apart`, by agent id."""
        return self.cluster.apart(job.share_of, job.name, now_s)

    def _confirm(self, antagonist: Antagonist | None) -> None:
        if antagonist is None:
            return
        logger.info(
            "job %s of %s has hurt %s (%s), and is kept off it for a week",
            antagonist.job,
            antagonist.user or "nobody",
            antagonist.protected,
            antagonist.cause,
        )
        self._book.changes.antagonists_over.discard(antagonist.key)
        self._book.changes.antagonists[antagonist.key] = antagonist

    def _note_hint(self, said: Correction, agent_id: str, hostname: str | None, now_s: float) -> None:
        hint = self.hints.note(said, agent_id, hostname, now_s)
        if hint.since < now_s:
            return
        self._book.note(
            EventType.HINT,
            now_s,
            task=said.task,
            state=said.action,
            hostname=hint.hostname,
            text=correction_text(said),
            body=msgspec.to_builtins(hint),
        )

    def _note_correction(self, correction: Correction, now_s: float) -> None:
        self.cluster.corrected(correction, now_s)
        attempt = self._book.find(correction.task)
        self._book.note(
            EventType.CORRECTION,
            now_s,
            job=self._book.job(attempt.job_id) if attempt else None,
            attempt=attempt,
            state=correction.action,
            text=correction_text(correction),
            body=msgspec.to_builtins(correction),
        )

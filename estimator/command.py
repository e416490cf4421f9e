"""``python -m serenity.estimator``: arguments, the wait for the agent, one session after another."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from serenity.daemon import exits, log, open_files
from serenity.daemon.arguments import DaemonArguments
from serenity.daemon.clock import Clock, SystemClock
from serenity.daemon.lock import Taken
from serenity.daemon.serving import Bounds, CannotListen, serve
from serenity.daemon.settings import SettingsError, resolve
from serenity.daemon.signals import stop_event
from serenity.estimator import metrics
from serenity.estimator.agent import suitability
from serenity.estimator.http_api import application
from serenity.estimator.look import look_once
from serenity.estimator.session import Session
from serenity.estimator.settings import EstimatorSettings
from serenity.estimator.slack.pipeline import SlackStages
from serenity.qos import pipeline
from serenity.qos.pipeline import PipelineFile
from serenity.qos.sources.roster import Roster, asking_interval_s
from serenity.qos.stages import PipelineError
from serenity.wire.mesos.state import AgentIdentity, AgentReader
from serenity.wire.messages import node
from serenity.wire.transport.access import Access, access_of
from serenity.wire.transport.http import HttpError, Unreachable
from serenity.wire.transport.trust_files import UnusableFile

logger = logging.getLogger(__name__)

_RETRY_S = 1.0
# Below, a minute has more samples than the default detector looks at (qos/detectors/interference/detector.py).
_FINEST_S = 0.5
# Anybody on this machine may come, mostly a Prometheus and a person; each takes a file of those that samples need.
_HTTP = Bounds(connections=64, patience_s=10.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    given = _parser().parse_args(arguments)
    if given.json and not given.once:
        return _complain(
            "--json is for one look: add --once; what a running estimator says is at /slack, as JSON", exits.USAGE
        )
    try:
        log.set_up(given.verbose)
        settings, _origins = resolve(EstimatorSettings, "estimator", vars(given))
        access = access_of(settings)
        file = pipeline.read(pipeline.DEFAULT_FILE if settings.pipeline is None else Path(settings.pipeline))
        stages = SlackStages.from_file(file)  # Now: what is wrong with it is to be told before the agent is waited for.
    except (SettingsError, UnusableFile, PipelineError) as error:
        return _complain(str(error), exits.USAGE)
    open_files.raise_limit()
    clock = SystemClock()
    reader = AgentReader(settings.agent, access=access)
    roster = Roster(reader, clock, asking_interval_s(settings.interval_s))
    if given.once:
        if not given.verbose:
            logging.getLogger().setLevel(logging.WARNING)  # It is asked for the slack, not for what the machine lacks.
        try:
            suitability.check(reader)  # What is not reported to an agent is no slack of it.
            sys.stdout.write(look_once(roster, stages, clock, settings, as_json=given.json))
        except suitability.AgentUnfit as error:
            return _complain(str(error), exits.REFUSED)
        except (Unreachable, HttpError) as error:
            return _complain(str(error), exits.UNREACHABLE)
        return exits.OK
    return Estimator(settings, access, file, roster, clock).run(stop_event())


def _parser() -> argparse.ArgumentParser:
    parser = DaemonArguments(
        prog="serenity estimator",
        description="Reports this node's slack to its Mesos agent, and samples the node.",
        epilog="`serenity estimator hold` closes the valve of the one that runs here, `release` opens it, `leases`"
        " shows who holds it; each has a --help.",
    )
    defaults = EstimatorSettings()
    parser.add_argument("--agent", metavar="HOST:PORT", help=f"the agent on this node (default {defaults.agent})")
    parser.add_argument(
        "--role", help=f'the role the slack is reserved to, "*" for every framework (default {defaults.role})'
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help=f"where /slack, /metrics and /health are (default {defaults.listen})"
    )
    parser.add_argument(
        "--interval", dest="interval_s", type=float, metavar="SECONDS", help="between samples (default 1)"
    )
    parser.add_argument("--pipeline", metavar="FILE", help="a pipeline file; its table [slack] is used")
    parser.add_argument("--reserve", metavar="cpus=N,mem=SIZE", help="what is never given of this node's slack")
    parser.add_argument("--ceiling", metavar="cpus=N,mem=SIZE", help="what is given at most")
    parser.add_argument("--run-dir", metavar="DIR", help="where the node's socket is (default /run/serenity as root)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="what survives a restart (default /var/lib/serenity as root)"
    )
    parser.add_argument("--ca-file", metavar="FILE", help="the authority that issued an https:// agent's certificate")
    parser.add_argument("--client-cert", metavar="FILE", help="a certificate of our own, if the agent wants one")
    parser.add_argument("--client-key", metavar="FILE", help="its key, if it is in a file of its own")
    parser.add_argument("--principal", metavar="NAME", help="who we are to the agent")
    parser.add_argument("--secret-file", metavar="FILE", help="a file with the principal's secret")
    parser.add_argument("--once", action="store_true", help="look for some seconds, print the slack, report nothing")
    parser.add_argument("--json", action="store_true", help="with --once: print JSON")
    parser.add_argument("--verbose", action="store_true", help="log more")
    return parser


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"serenity estimator: {text}\n")
    return code


class Estimator:
    """The process: HTTP from start to end, and a session for each id that the agent has."""

    def __init__(
        self, settings: EstimatorSettings, access: Access, file: PipelineFile, roster: Roster, clock: Clock
    ) -> None:
        """`file`: one of which `SlackStages` can be made."""
        self.metrics = metrics.table()
        self._settings = settings
        self._access = access
        self._file = file
        self._roster = roster
        self._clock = clock
        self._session: Session | None = None
        self._waiting_for = "the agent was not asked yet"

    def run(self, stopping: threading.Event) -> int:
        host, port = self._settings.listen_on
        try:
            server = serve(application(self), host, port, bounds=_HTTP)
        except CannotListen as error:
            return _complain(f"{error}; choose another address with --listen", exits.REFUSED)
        logger.info("/slack, /metrics and /health on %s:%d", host, server.server_port)
        if self._settings.interval_s < _FINEST_S:
            logger.warning(
                "at less than %g s between samples executors do not find contention that comes over half a minute;"
                " --interval %g is fine enough",
                _FINEST_S,
                _FINEST_S,
            )
        try:
            return self._sessions(stopping)
        except Taken as error:
            return _complain(f"{node.ANOTHER_ESTIMATOR}: {error}", exits.REFUSED)
        except suitability.AgentUnfit as error:
            return _complain(str(error), exits.REFUSED)
        except OSError as error:
            return _complain(f"{error.filename or 'a folder'} cannot be used: {error.strerror or error}", exits.REFUSED)
        finally:
            self._roster.stop()
            server.stop(timeout=0.5)

    def _sessions(self, stopping: threading.Event) -> int:
        started = False
        while (agent := self._wait_for_agent(stopping)) is not None:
            stages = SlackStages.from_file(self._file)  # They learn, and what they learn is of one agent.
            self._session = Session(
                self._settings, self._access, stages, self._roster, agent, self._clock, self.metrics
            )
            if not started:
                self._roster.start()
                started = True
            logger.info("serving agent %s on %s", agent.agent_id, agent.hostname)
            self._session.run(stopping)
            if self._session.ended_because is not None:
                return _complain(self._session.ended_because, exits.REFUSED)
            self._session = None
        return exits.OK

    def _wait_for_agent(self, stopping: threading.Event) -> AgentIdentity | None:
        """The agent, once it answers and is registered; None when we are to stop first."""
        reader, told = AgentReader(self._settings.agent, access=self._access), False
        while not stopping.is_set():
            try:
                suitability.check(reader)
                identity = self._roster.ask().identity
                if identity.agent_id:
                    return identity
                self._waiting_for = "the agent is not registered with a master yet"
            except (Unreachable, HttpError) as error:
                self._waiting_for = str(error)
            if not told:
                logger.warning("waiting for the agent: %s", self._waiting_for)
                told = True
            stopping.wait(_RETRY_S)
        return None

    # -- shown over HTTP -------------------------------------------------------------------------

    def slack_json(self) -> dict[str, Any]:
        if self._session is None:
            return {"cpus": 0.0, "mem_bytes": 0, "fresh": False, "why": [self._waiting_for]}
        return dict(msgspec.to_builtins(self._session.slack_json()))

    def ailments(self) -> list[str]:
        return [f"waiting for the agent: {self._waiting_for}"] if self._session is None else self._session.ailments()

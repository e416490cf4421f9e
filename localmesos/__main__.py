"""``python -m serenity.localmesos``: a Mesos for one machine, in the foreground, until SIGTERM or Ctrl-C."""

from gevent import monkey

monkey.patch_all()

import argparse
import hashlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

import gevent
import gevent.event
import gevent.socket

import serenity
from serenity.daemon.arguments import DaemonArguments
from serenity.localmesos import control
from serenity.localmesos.agent.executor_launch import AgentSettings
from serenity.localmesos.cluster.options import DEFAULT_RESOURCES, ClusterError
from serenity.localmesos.containers.cgroups import CgroupsError
from serenity.localmesos.containers.container import become_subreaper
from serenity.localmesos.embedded import EmbeddedMesos
from serenity.localmesos.master.state import MasterSettings
from serenity.localmesos.resource_flag import parse_resources
from serenity.localmesos.web.http import listen
from serenity.wire.mesos.resources import ResourceError

EXIT_USAGE = 2
EXIT_REFUSED = 4  # As everywhere in `serenity`: understood, but it cannot be done.
NOTICE = "This is an embedded single-machine Mesos for demos and tests, not for production."
_DURATIONS = (
    ("allocation-interval", 1.0, "between offers"),
    ("offer-timeout", None, "after which an offer expires (default: never)"),
    ("agent-ping-timeout", 15.0, "that the master waits for an agent"),
    ("executor-registration-timeout", 60.0, "that an executor has to subscribe"),
    ("executor-reregistration-timeout", 2.0, "that it has when the agent is back"),
    ("executor-shutdown-grace-period", 5.0, "that it has to shut down"),
    ("recovery-timeout", 900.0, "that it waits for an agent that is away"),
)


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    become_subreaper()
    told_to_stop = gevent.event.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, told_to_stop.set)
    try:
        agent = _agent_settings(arguments)
        listeners = listen(arguments.ip, arguments.master_port), listen(arguments.ip, arguments.agent_port)
        mesos = EmbeddedMesos(agent, _master_settings(arguments), listeners)
        mesos.start()
    except OSError as error:
        return _refused(error.strerror or str(error))
    except (CgroupsError, ClusterError) as error:
        return _refused(str(error))
    except ResourceError as error:
        sys.stderr.write(f"--resources: {error}\n")
        return EXIT_USAGE
    _say(f"{NOTICE}\nready: master {mesos.master_address}, agent {mesos.agent_address}")
    if arguments.control:
        gevent.spawn(_obey, mesos, told_to_stop)
    told_to_stop.wait()
    mesos.stop()
    return 0


def _refused(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return EXIT_REFUSED


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = DaemonArguments(
        prog="python -m serenity.localmesos",
        description=NOTICE,
        epilog=control.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ip", default="127.0.0.1", help="IPv4 address to listen at (default: %(default)s)")
    parser.add_argument("--hostname", help="name in offers (default: the address)")
    parser.add_argument("--master-port", type=int, default=5050, metavar="PORT", help="0 picks a free one")
    parser.add_argument("--agent-port", type=int, default=5051, metavar="PORT", help="0 picks a free one")
    parser.add_argument("--work-dir", type=Path, required=True, metavar="DIR", help="for sandboxes and checkpoints")
    parser.add_argument("--resources", default=DEFAULT_RESOURCES, help="of the agent (default: %(default)s)")
    parser.add_argument("--isolation", choices=("posix", "cgroups"), default="posix", help="cgroups (v1) need root")
    parser.add_argument("--no-revocable-cpu-low-priority", action="store_true", help="they have the shares of others")
    for name, default_s, words in _DURATIONS:
        default = "" if default_s is None else " (default: %(default)s)"
        parser.add_argument(f"--{name}", type=float, metavar="SECONDS", default=default_s, help=f"{words}{default}")
    parser.add_argument("--max-agent-ping-timeouts", type=int, default=5, metavar="N", help="then it is unreachable")
    parser.add_argument("--control", action="store_true", help="obey commands on standard input (see below)")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser.parse_args()


def _agent_settings(arguments: argparse.Namespace) -> AgentSettings:
    """Raises OSError if the work directory cannot be made, ResourceError for resources that make no sense."""
    work_dir = arguments.work_dir.absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    return AgentSettings(
        agent_id="",
        hostname=arguments.hostname or arguments.ip,
        ip=arguments.ip,
        port=0,
        work_dir=work_dir,
        resources=parse_resources(arguments.resources),
        import_path=str(Path(serenity.__file__).resolve().parent.parent),
        resources_flag=arguments.resources,
        isolation=arguments.isolation,
        # A name that nobody else has, and that is the same again after a kill.
        cgroups_root=f"serenity-{hashlib.sha256(bytes(work_dir)).hexdigest()[:12]}",
        revocable_cpu_low_priority=not arguments.no_revocable_cpu_low_priority,
        executor_registration_timeout_s=arguments.executor_registration_timeout,
        executor_reregistration_timeout_s=arguments.executor_reregistration_timeout,
        executor_shutdown_grace_period_s=arguments.executor_shutdown_grace_period,
        recovery_timeout_s=arguments.recovery_timeout,
    )


def _master_settings(arguments: argparse.Namespace) -> MasterSettings:
    return MasterSettings(
        allocation_interval_s=arguments.allocation_interval,
        offer_timeout_s=arguments.offer_timeout,
        agent_ping_timeout_s=arguments.agent_ping_timeout,
        max_agent_ping_timeouts=arguments.max_agent_ping_timeouts,
    )


def _obey(mesos: EmbeddedMesos, told_to_stop: gevent.event.Event) -> None:
    """Obeys one command at a time, until standard input ends."""
    descriptor, pending = sys.stdin.fileno(), b""
    while True:
        gevent.socket.wait_read(descriptor)
        read = os.read(descriptor, 4096)
        if not read:
            told_to_stop.set()
            return
        *lines, pending = (pending + read).split(b"\n")
        for line in filter(None, lines):
            _say(json.dumps(control.answer(mesos, line)))


if __name__ == "__main__":
    sys.exit(main())

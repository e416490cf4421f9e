"""``python -m serenity.localmesos``: a Mesos for one machine, in the foreground, until SIGTERM or Ctrl-C."""

from gevent import monkey

monkey.patch_all()

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import gevent
import gevent.event
import gevent.socket

from serenity.daemon.arguments import DaemonArguments
from serenity.localmesos.cluster_options import DEFAULT_RESOURCES
from serenity.localmesos.container import become_subreaper
from serenity.localmesos.embedded import EmbeddedMesos, Options
from serenity.wire.resources import ResourceError

EXIT_USAGE = 2
EXIT_REFUSED = 4  # As everywhere in `serenity`: it was understood, and cannot be.
NOTICE = "This is an embedded single-machine Mesos for demos and tests, not for production."


def main() -> int:
    options = _arguments()
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        master, agent = (_listen(options.ip, port) for port in (options.master_port, options.agent_port))
        mesos = EmbeddedMesos(_embedded_options(options), master, agent)
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return EXIT_REFUSED
    except ResourceError as error:
        sys.stderr.write(f"--resources: {error}\n")
        return EXIT_USAGE
    become_subreaper()
    told_to_stop = gevent.event.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, told_to_stop.set)
    if options.stop_with_stdin:
        gevent.spawn(_wait_for_end_of_stdin, told_to_stop)
    mesos.start()
    sys.stdout.write(f"{NOTICE}\nready: master {mesos.master_address}, agent {mesos.agent_address}\n")
    sys.stdout.flush()
    told_to_stop.wait()
    mesos.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = DaemonArguments(prog="python -m serenity.localmesos", description=NOTICE)
    parser.add_argument("--ip", default="127.0.0.1", help="IPv4 address to listen at (default: %(default)s)")
    parser.add_argument("--hostname", help="name in offers (default: the address)")
    parser.add_argument("--master-port", type=int, default=5050, metavar="PORT", help="0 picks a free one")
    parser.add_argument("--agent-port", type=int, default=5051, metavar="PORT", help="0 picks a free one")
    parser.add_argument("--work-dir", type=Path, required=True, metavar="DIR", help="for the sandboxes")
    parser.add_argument("--resources", default=DEFAULT_RESOURCES, help="of the agent (default: %(default)s)")
    parser.add_argument("--allocation-interval", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--executor-registration-timeout", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--executor-shutdown-grace-period", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser.parse_args()


def _embedded_options(options: argparse.Namespace) -> Options:
    """Raises OSError if the work directory cannot be made."""
    work_dir = options.work_dir.absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    return Options(
        work_dir=work_dir,
        resources=options.resources,
        ip=options.ip,
        hostname=options.hostname,
        allocation_interval_s=options.allocation_interval,
        executor_registration_timeout_s=options.executor_registration_timeout,
        executor_shutdown_grace_period_s=options.executor_shutdown_grace_period,
    )


def _listen(ip: str, port: int) -> socket.socket:
    """Raises OSError with a text for the user."""
    listener = gevent.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ip, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OSError(0, f"cannot listen at {ip}:{port}: {reason}") from error
    return listener


def _wait_for_end_of_stdin(told_to_stop: gevent.event.Event) -> None:
    descriptor = sys.stdin.fileno()
    while True:
        gevent.socket.wait_read(descriptor)
        if not os.read(descriptor, 4096):
            told_to_stop.set()
            return


if __name__ == "__main__":
    sys.exit(main())

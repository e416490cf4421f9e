"""The process that the Docker daemon runs for a Mesos container."""

from __future__ import annotations

from pathlib import Path

from serenity.wire.transport.http import Endpoint, HttpError, Unreachable, get_json

SOCKET = Path("/var/run/docker.sock")
_TIMEOUT_S = 2.0


class DockerError(Exception):
    """Docker does not tell the process; the text says why."""


class DockerSilent(DockerError):  # noqa: N818 - reads as what it says
    """Docker does not answer at all."""


def pid_of(container_id: str, socket: Path = SOCKET) -> int | None:
    """The first process of the container that Mesos' Docker containerizer runs; None while there is none.

    The daemon is asked, not the processes: their environment may be set by any framework, and
    cannot be trusted.

    Raises:
        DockerSilent: the daemon does not answer, or not in time.
        DockerError: the answer is not one of Docker's.
    """
    path = f"/containers/mesos-{container_id}/json"
    try:
        pid = int(get_json(Endpoint.parse(f"unix:{socket}"), path, _TIMEOUT_S)["State"]["Pid"])
    except HttpError as error:
        if error.status == 404:
            return None  # The container is still being made.
        raise DockerError(str(error)) from error
    except Unreachable as error:
        raise DockerSilent(f"{socket}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # The last for an infinite pid.
        raise DockerError(f"{socket}: {error}") from error
    return pid or None  # Docker writes 0 for a container that does not run.

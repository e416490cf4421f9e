"""The framework's settings: table ``[framework]`` of serenity.toml, its flags and variables."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from serenity.daemon.settings import SettingsError, default_file, load_toml, variable_text
from serenity.framework.task_info import DEFAULT_EXECUTOR_COMMAND
from serenity.wire.mesos.leader import leading_master
from serenity.wire.mesos.quantities import parse_duration_s, parse_mem_bytes


def is_loopback(host: str) -> bool:
    """Whether this name or address can mean no other machine.  A name that merely begins like one can."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _database() -> str:
    """Root's is the system's; everybody else has one of their own."""
    if os.geteuid() == 0:
        return "sqlite:////var/lib/serenity/framework.db"
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return f"sqlite:///{state}/serenity/framework.db"


class FrameworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations and amounts are written as ``10m`` and ``128M``."""

    master: Annotated[
        str,
        Meta(
            description="the Mesos master: HOST:PORT, https://HOST:PORT, zk://HOST:PORT,HOST:PORT/PATH, "
            "or file:///PATH of a file with one of these"
        ),
    ] = "127.0.0.1:5050"
    listen: Annotated[str, Meta(description="where the API is served, HOST:PORT")] = "127.0.0.1:8640"
    insecure_listen: Annotated[bool, Meta(description="serve others than this machine, without any authentication")] = (
        False
    )
    database: Annotated[str, Meta(description="URL of the store")] = msgspec.field(default_factory=_database)
    name: Annotated[str, Meta(description="the framework's name in Mesos")] = "serenity"
    role: Annotated[str, Meta(description="the Mesos role, which the slack is reserved to")] = "serenity"
    user: Annotated[str, Meta(description="who executors run as on the agents")] = msgspec.field(default_factory=_user)
    failover_timeout: Annotated[str, Meta(description="how long Mesos keeps our tasks without us")] = "4w"
    principal: Annotated[str | None, Meta(description="who the framework is to Mesos")] = None
    secret_file: Annotated[str | None, Meta(description="a file with the principal's secret")] = None
    ca_file: Annotated[str | None, Meta(description="the authority that issued the certificates of Mesos")] = None
    client_cert: Annotated[str | None, Meta(description="a certificate of our own, if Mesos wants one")] = None
    client_key: Annotated[str | None, Meta(description="its key, if it is in a file of its own")] = None
    executor_command: Annotated[str, Meta(description="starts an executor on an agent")] = DEFAULT_EXECUTOR_COMMAND
    executor_cpus: Annotated[float, Meta(ge=0.01, le=8, description="an executor's own cpus")] = 0.1
    executor_mem: Annotated[str, Meta(description="an executor's own memory")] = "128M"
    reconcile_every: Annotated[str, Meta(description="how often Mesos is asked for all tasks")] = "10m"

    def __post_init__(self) -> None:
        """Raises ValueError, which names the key."""
        for key, parse in (
            ("failover_timeout", parse_duration_s),
            ("reconcile_every", parse_duration_s),
            ("executor_mem", parse_mem_bytes),
        ):
            try:
                parse(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        try:
            leading_master(self.master)
        except ValueError as error:
            raise ValueError(f"master: {error}") from None
        host, _ = self.address
        if not self.insecure_listen and not is_loopback(host):
            raise ValueError(
                f"listen: {self.listen} can be reached from other machines, and the API asks nobody who they are; "
                "listen on 127.0.0.1, or accept that with --insecure-listen"
            )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`; port 0 asks for any.  Raises ValueError, which names the key."""
        host, colon, port = self.listen.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"listen: {self.listen!r} is no address; write HOST:PORT")
        return host.strip("[]"), int(port)

    @property
    def failover_timeout_s(self) -> float:
        return parse_duration_s(self.failover_timeout)

    @property
    def reconcile_every_s(self) -> float:
        return parse_duration_s(self.reconcile_every)

    @property
    def executor_mem_mb(self) -> float:
        return parse_mem_bytes(self.executor_mem) / (1 << 20)


def executor_environment(environ: Mapping[str, str], file: Path | None = None) -> dict[str, str]:
    """What executors are told: ``[executor]`` of serenity.toml, overridden by ``SERENITY_EXECUTOR_*``.

    Raises:
        SettingsError
    """
    path = file if file is not None else default_file(environ)
    table = load_toml(path).get("executor", {}) if path is not None else {}
    passed = {f"SERENITY_EXECUTOR_{key}".upper(): _text(key, value) for key, value in table.items()}
    passed.update({name: value for name, value in environ.items() if name.startswith("SERENITY_EXECUTOR_")})
    if "SERENITY_RUN_DIR" in environ:
        passed["SERENITY_RUN_DIR"] = environ["SERENITY_RUN_DIR"]
    return passed


def _text(key: str, value: Any) -> str:
    try:
        return variable_text(value)
    except TypeError:
        raise SettingsError(f"[executor] {key}: a {type(value).__name__} cannot be handed to executors") from None

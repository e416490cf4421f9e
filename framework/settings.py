"""The framework's settings: table ``[framework]`` of serenity.toml, its flags and variables."""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket as sockets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from serenity.daemon.settings import SettingsError, default_file, load_toml, variable_text
from serenity.daemon.state_dir import default_state_dir
from serenity.framework.cluster.hint_source import HintSource
from serenity.framework.estimators.rollout import Aim, Plan
from serenity.framework.estimators.task import DEFAULT_ESTIMATOR_COMMAND, EstimatorTemplate
from serenity.framework.mesos.task_info import DEFAULT_EXECUTOR_COMMAND
from serenity.wire.mesos.leader import leading_master
from serenity.wire.mesos.quantities import parse_duration_s, parse_mem_bytes
from serenity.wire.messages.framework_socket import default_socket

# Keys of ``[estimator]`` that a rolled-out estimator is told on its command line, and why.
_NOT_HANDED_ON = {
    "agent": "each is told its own agent's address",
    "role": "their slack is the framework's, of its --role",
}


def is_loopback(host: str) -> bool:
    """Whether this name or address can mean no other machine.  A name that merely begins like one can."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _database() -> str:
    return f"sqlite:///{default_state_dir() / 'framework.db'}"


def _tokens_file() -> str:
    return str(default_state_dir() / "tokens.json")


def _socket() -> str:
    return str(default_socket())


class FrameworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations and amounts are written as ``10m`` and ``128M``."""

    master: Annotated[
        str,
        Meta(
            description="the Mesos master: HOST:PORT, https://HOST:PORT, zk://HOST:PORT,HOST:PORT/PATH, "
            "or file:///PATH of a file with one of these"
        ),
    ] = "127.0.0.1:5050"
    socket: Annotated[str, Meta(description="where the API is served to this machine's users, a Unix socket")] = (
        msgspec.field(default_factory=_socket)
    )
    listen: Annotated[str, Meta(description="where it is served to who has a token, HOST:PORT, or none")] = (
        "127.0.0.1:8640"
    )
    tls_cert: Annotated[
        str | None, Meta(description="the certificate to serve HTTPS with, and those up to its root")
    ] = None
    tls_key: Annotated[str | None, Meta(description="its key, if it is in a file of its own")] = None
    insecure_listen: Annotated[bool, Meta(description="serve other machines without TLS: tokens can be read")] = False
    host_names: Annotated[str, Meta(description="more names that it may be called by: NAME,NAME")] = ""
    tokens_file: Annotated[str, Meta(description="where tokens are kept, hashed")] = msgspec.field(
        default_factory=_tokens_file
    )
    rate: Annotated[float, Meta(ge=0.1, le=1e6, description="how often a user or token may ask, a second")] = 100.0
    database: Annotated[
        str, Meta(description="URL of the store: sqlite:///PATH, or postgresql://HOST/NAME for several")
    ] = msgspec.field(default_factory=_database)
    advertise: Annotated[str | None, Meta(description="URL by which users of other instances reach this one")] = None
    keep_ended: Annotated[str, Meta(description="how long what has ended is remembered")] = "4w"
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
    hints_from: Annotated[
        str, Meta(description="other frameworks whose noisy-neighbour hints count here too: URL [TOKEN_FILE], …")
    ] = ""
    roll_out_estimators: Annotated[
        bool, Meta(description="keep an estimator running on every agent that has room reserved for one")
    ] = False
    remove_estimators: Annotated[bool, Meta(description="end the estimators that were rolled out")] = False
    estimator_command: Annotated[str, Meta(description="starts an estimator on an agent")] = DEFAULT_ESTIMATOR_COMMAND
    estimator_cpus: Annotated[float, Meta(ge=0.01, le=8, description="an estimator's cpus")] = 0.1
    estimator_mem: Annotated[str, Meta(description="an estimator's memory")] = "256M"
    estimator_role: Annotated[str, Meta(description="the role that estimators' resources are reserved to")] = (
        "serenity-estimator"
    )
    estimator_settle: Annotated[
        str, Meta(description="how long an upgraded estimator must do well before the next one is upgraded")
    ] = "1m"

    def __post_init__(self) -> None:
        """Raises ValueError, which names the key."""
        for key, parse in (
            ("failover_timeout", parse_duration_s),
            ("keep_ended", parse_duration_s),
            ("reconcile_every", parse_duration_s),
            ("executor_mem", parse_mem_bytes),
            ("estimator_mem", parse_mem_bytes),
            ("estimator_settle", parse_duration_s),
        ):
            try:
                parse(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        try:
            leading_master(self.master)
        except ValueError as error:
            raise ValueError(f"master: {error}") from None
        if self.roll_out_estimators and self.remove_estimators:
            raise ValueError("roll_out_estimators and remove_estimators do not go together; give one of them")
        if self.estimator_role == self.role:
            raise ValueError("estimator_role is the role of the slack; estimators need one of their own")
        try:
            self.hint_sources  # noqa: B018 - raises where one makes no sense
        except ValueError as error:
            raise ValueError(f"hints_from: {error}") from None
        if self.tls_key and not self.tls_cert:
            raise ValueError("tls_key is given without tls_cert; give both, or neither")
        if self.address is not None and not (self.tls_cert or self.insecure_listen or is_loopback(self.address[0])):
            raise ValueError(
                f"listen: {self.listen} can be reached from other machines, and tokens could be read on their way; "
                "give --tls-cert and --tls-key, or accept that with --insecure-listen"
            )

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of `listen`; port 0 asks for any.  None: nowhere.  Raises ValueError, which names the key."""
        if self.listen == "none":
            return None
        host, colon, port = self.listen.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"listen: {self.listen!r} is no address; write HOST:PORT, or none")
        return host.strip("[]"), int(port)

    @property
    def url(self) -> str:
        """Where this instance says that it is."""
        if self.advertise is not None or self.address is None:
            return self.advertise or f"unix:{self.socket}"
        host, port = self.address
        name = sockets.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        return f"http{'s' if self.tls_cert else ''}://{name}:{port}"

    @property
    def hint_sources(self) -> tuple[HintSource, ...]:
        """Raises ValueError."""
        sources = HintSource.parse_all(self.hints_from)
        for endpoint in (each.endpoint for each in sources):
            if endpoint.unix_path is None and not endpoint.tls and not is_loopback(endpoint.host):
                raise ValueError(f"{endpoint.url} has no TLS, and a token could be read on its way; write https://…")
        return sources

    @property
    def keep_ended_s(self) -> float:
        return parse_duration_s(self.keep_ended)

    @property
    def failover_timeout_s(self) -> float:
        return parse_duration_s(self.failover_timeout)

    @property
    def reconcile_every_s(self) -> float:
        return parse_duration_s(self.reconcile_every)

    @property
    def executor_mem_mb(self) -> float:
        return parse_mem_bytes(self.executor_mem) / (1 << 20)

    def estimators(self, environment: Mapping[str, str]) -> Plan:
        """What is to become of estimators; `environment` is theirs."""
        aim = Aim.ROLL_OUT if self.roll_out_estimators else Aim.REMOVE if self.remove_estimators else Aim.LEAVE
        template = EstimatorTemplate(
            command=self.estimator_command,
            environment=environment,
            slack_role=self.role,
            role=self.estimator_role,
            cpus=self.estimator_cpus,
            mem_mb=parse_mem_bytes(self.estimator_mem) / (1 << 20),
        )
        return Plan(aim, template, parse_duration_s(self.estimator_settle))


def executor_environment(environ: Mapping[str, str], file: Path | None = None) -> dict[str, str]:
    """What executors are told: ``[executor]`` of serenity.toml, overridden by ``SERENITY_EXECUTOR_*``.

    Raises:
        SettingsError
    """
    return _environment("executor", environ, file)


def estimator_environment(environ: Mapping[str, str], file: Path | None = None) -> dict[str, str]:
    """The same for the estimators that are rolled out.

    Raises:
        SettingsError: also for what the task's own command line overrides, and a `state_dir` that would
            go with the task's sandbox, and the provider's id with it.
    """
    passed = _environment("estimator", environ, file)
    for key, instead in _NOT_HANDED_ON.items():
        variable = f"SERENITY_ESTIMATOR_{key.upper()}"
        if variable in passed:
            name = variable if variable in environ else f"[estimator] {key}"
            raise SettingsError(f"{name} has no effect on estimators that are rolled out: {instead}; leave it out")
    state_dir = passed.get("SERENITY_ESTIMATOR_STATE_DIR")
    if state_dir is not None and not Path(state_dir).is_absolute():
        raise SettingsError(f"[estimator] state_dir = {state_dir!r}: write a whole path, of a folder on the agents")
    return passed


def _environment(table: str, environ: Mapping[str, str], file: Path | None) -> dict[str, str]:
    path = file if file is not None else default_file(environ)
    values = load_toml(path).get(table, {}) if path is not None else {}
    prefix = f"SERENITY_{table}_".upper()
    passed = {f"{prefix}{key}".upper(): _text(table, key, value) for key, value in values.items()}
    passed.update({name: value for name, value in environ.items() if name.startswith(prefix)})
    if "SERENITY_RUN_DIR" in environ:
        passed["SERENITY_RUN_DIR"] = environ["SERENITY_RUN_DIR"]
    return passed


def _text(table: str, key: str, value: Any) -> str:
    try:
        return variable_text(value)
    except TypeError:
        raise SettingsError(f"[{table}] {key}: a {type(value).__name__} cannot be handed to {table}s") from None

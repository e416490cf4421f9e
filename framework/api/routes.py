"""The table of the API's routes.  The application serves it, and the OpenAPI document describes it: one cannot
differ from the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from serenity.framework.api.callers import Caller
from serenity.framework.api.parameters import Choice, Number, Parameter
from serenity.framework.api.refusals import Unacceptable
from serenity.framework.api.token_file import TokenFile
from serenity.framework.service import Framework
from serenity.wire.messages import api
from serenity.wire.messages.antagonists import Antagonists
from serenity.wire.messages.api import EventType
from serenity.wire.messages.hints import Hints
from serenity.wire.messages.slo import Service, Services, SloReport
from serenity.wire.messages.tokens import Me, NewToken, Role, Token, TokenRequest, Tokens

_MAX_JOBS = 10_000
_MAX_LINES = 10_000


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object: the request has nothing to say, and a page's form cannot say even that."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let in and understood."""

    framework: Framework
    tokens: TokenFile
    caller: Caller
    path: dict[str, str]  # What stands in the route's braces.
    parameters: dict[str, Any]
    body: Any
    last_event_id: int | None


@dataclass(frozen=True, slots=True)
class Events:
    """Answers with server-sent events."""


@dataclass(frozen=True, slots=True)
class Text:
    """Answers with plain text of that media type."""

    media_type: str


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        name: the operation's id in the document.
        do: what is asked for; its answer is encoded as `answer` says.
        problems: statuses besides those that every route may answer with.
    """

    method: str
    path: str
    name: str
    summary: str
    role: Role
    answer: type[msgspec.Struct] | Events | Text
    do: Callable[[Asked], Any]
    status: int = 200
    body: type[msgspec.Struct] | None = None
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = ()

    @property
    def path_names(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


# -- jobs ---------------------------------------------------------------------------------------


def _submit(asked: Asked) -> api.Job:
    request: api.JobRequest = asked.body
    try:
        request.require_startable()
    except ValueError as error:
        raise Unacceptable(str(error)) from None
    as_asked = msgspec.structs.replace(request, user=asked.caller.runs_as(request.user))
    return asked.framework.submit(as_asked, asked.caller.name)


def _jobs(asked: Asked) -> api.Jobs:
    state = asked.parameters["state"]
    found = asked.framework.jobs(asked.parameters["limit"], None if state == "all" else state == "ended")
    return msgspec.structs.replace(found, jobs=tuple(map(asked.caller.shown, found.jobs)))


def _detail(asked: Asked) -> api.JobDetail:
    found = asked.framework.detail(asked.path["job"])
    return msgspec.structs.replace(found, job=asked.caller.shown(found.job))


def _why(asked: Asked) -> api.Why:
    found = asked.framework.why(asked.path["job"])
    return msgspec.structs.replace(found, job=asked.caller.shown(found.job))


def _kill(asked: Asked) -> api.Job:
    job = asked.framework.find(asked.path["job"])
    asked.caller.require_owner(job)
    return asked.framework.kill(job.id)


def _log(asked: Asked) -> api.Log:
    given = asked.parameters
    return asked.framework.log(
        asked.path["job"], given["instance"], given["attempt"], given["output"], given["offset"], given["lines"]
    )


def _events(asked: Asked) -> Iterator[bytes]:
    return asked.framework.watchers.stream(asked.last_event_id)


def _job_events(asked: Asked) -> Iterator[bytes]:
    job_id = asked.framework.find(asked.path["job"]).id
    return asked.framework.watchers.stream(asked.last_event_id, job_id=job_id)


_STATE = Choice("state", "which jobs", ("active", "ended", "all"), "active")
_LIMIT = Number("limit", "the newest so many", 1, _MAX_JOBS, 1000)
_LOG = (
    Number("instance", "of the job", 0, 1 << 31, 0),
    Number("attempt", "its number; the last one that was started, if not given", 1, 1 << 31, None),
    Choice("output", "which one", ("stdout", "stderr"), "stdout"),
    Number("offset", "the byte to begin at; if not given, the last lines", 0, 1 << 53, None),
    Number("lines", "how many of the last lines", 0, _MAX_LINES, 100),
)

JOBS = (
    Route(
        "POST",
        "/v1/jobs",
        "submit",
        "Submit a job.",
        Role.SUBMIT,
        api.Job,
        _submit,
        201,
        body=api.JobRequest,
        problems=(409,),
    ),
    Route("GET", "/v1/jobs", "jobs", "List jobs.", Role.READ, api.Jobs, _jobs, parameters=(_STATE, _LIMIT)),
    Route(
        *("GET", "/v1/jobs/{job}", "job", "A job and its attempts.", Role.READ, api.JobDetail),
        _detail,
        problems=(404, 409),
    ),
    Route(
        *("POST", "/v1/jobs/{job}/kill", "kill", "Kill a job: its owner may, and admins.", Role.SUBMIT, api.Job),
        _kill,
        202,
        body=Nothing,
        problems=(404, 409),
    ),
    Route(
        *("GET", "/v1/jobs/{job}/why", "why", "Why a job is not running.", Role.READ, api.Why),
        _why,
        problems=(404, 409),
    ),
    Route(
        *("GET", "/v1/jobs/{job}/logs", "logs", "A piece of what a task has written.", Role.READ, api.Log),
        _log,
        parameters=_LOG,
        problems=(404, 409, 410, 502),
    ),
    Route(
        *("GET", "/v1/jobs/{job}/events", "job_events", "What happens to a job.", Role.READ, Events()),
        _job_events,
        problems=(404, 409),
    ),
    Route("GET", "/v1/events", "events", "What happens to all jobs.", Role.READ, Events(), _events),
)


# -- the cluster --------------------------------------------------------------------------------


def _metrics(asked: Asked) -> str:
    asked.framework.health()  # Brings the gauges up to date.
    return asked.framework.metrics.prometheus()


def _hint_events(asked: Asked) -> Iterator[bytes]:
    return asked.framework.watchers.stream(asked.last_event_id, kind=EventType.HINT)


CLUSTER = (
    Route(
        *("GET", "/v1/nodes", "nodes", "The agents and their slack.", Role.READ, api.Nodes),
        lambda asked: asked.framework.nodes(),
        problems=(502,),
    ),
    Route(
        *("POST", "/v1/nodes/{node}/hold", "hold", "Place nothing new on an agent.", Role.ADMIN, api.Node),
        lambda asked: asked.framework.hold_node(asked.path["node"], asked.body),
        body=api.HoldRequest,
        problems=(404, 502),
    ),
    Route(
        *("POST", "/v1/nodes/{node}/release", "release", "Place work on an agent again.", Role.ADMIN, api.Node),
        lambda asked: asked.framework.release_node(asked.path["node"]),
        body=Nothing,
        problems=(404, 502),
    ),
    Route(
        *("GET", "/v1/hints", "hints", "Noisy neighbours that hold.", Role.READ, Hints),
        lambda asked: asked.framework.hints(),
    ),
    Route("GET", "/v1/hints/events", "hint_events", "New noisy neighbours.", Role.READ, Events(), _hint_events),
    Route(
        *("GET", "/v1/antagonists", "antagonists", "Which jobs are kept off which.", Role.READ, Antagonists),
        lambda asked: asked.framework.antagonists(),
    ),
    Route(
        *("GET", "/v1/slo", "services", "How production services do.", Role.READ, Services),
        lambda asked: asked.framework.services(),
    ),
    Route(
        *("POST", "/v1/slo", "report_slo", "Say how a service of one's own does.", Role.SUBMIT, Service),
        lambda asked: asked.framework.report_slo(asked.caller.name, asked.body),
        body=SloReport,
    ),
    Route(
        *("GET", "/health", "health", "Whether it is connected to Mesos.", Role.READ, api.Health),
        lambda asked: asked.framework.health(),
    ),
    Route(
        *("GET", "/metrics", "metrics", "For Prometheus.", Role.READ, Text("text/plain; version=0.0.4")),
        _metrics,
    ),
)


# -- who may ask --------------------------------------------------------------------------------


def _me(asked: Asked) -> Me:
    return Me(name=asked.caller.name, role=asked.caller.role, users=asked.caller.users)


TOKENS = (
    Route("GET", "/v1/me", "me", "Who one is, and what one may.", Role.READ, Me, _me),
    Route(
        *("POST", "/v1/tokens", "create_token", "Make a token.", Role.ADMIN, NewToken),
        lambda asked: asked.tokens.create(asked.body, asked.caller.name),
        201,
        body=TokenRequest,
        problems=(409,),
    ),
    Route(
        *("GET", "/v1/tokens", "tokens", "List tokens, without their secrets.", Role.ADMIN, Tokens),
        lambda asked: Tokens(tokens=asked.tokens.tokens()),
    ),
    Route(
        *("DELETE", "/v1/tokens/{token}", "revoke_token", "Revoke a token, by id or name.", Role.ADMIN, Token),
        lambda asked: asked.tokens.revoke(asked.path["token"], asked.caller.name),
        problems=(404,),
    ),
)

ROUTES: tuple[Route, ...] = (*JOBS, *CLUSTER, *TOKENS)

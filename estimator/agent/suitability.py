"""Whether an agent can take slack from a resource provider at all, and whether that provider may be ours."""

from __future__ import annotations

import logging
import re

from serenity.wire.mesos.resources import Json
from serenity.wire.mesos.state import AgentReader
from serenity.wire.messages import node
from serenity.wire.transport.http import HttpError, Unreachable

logger = logging.getLogger(__name__)

# The resource provider API exists since 1.5; its serious bugs (MESOS-9667, MESOS-9711) were fixed in 1.8.0.
_OLDEST = (1, 8)
_NO_ESTIMATOR = ("", "noop", "org_apache_mesos_NoopResourceEstimator")


class AgentUnfit(Exception):  # noqa: N818 - reads as what it says
    """Slack must not be reported to this agent; the text says why, and what to do."""


class Crowded(AgentUnfit):
    """Another resource provider gives slack to this agent already."""


def check(reader: AgentReader) -> None:
    """Raises AgentUnfit, or Unreachable or HttpError when the agent does not tell."""
    version = reader.version()
    match = re.match(r"(\d+)\.(\d+)", version)  # Such as 1.12.0-rc1.
    if match is None or (int(match[1]), int(match[2])) < _OLDEST:
        raise AgentUnfit(f"the agent is Mesos {version}; resource providers can be relied on from 1.8.0 on: upgrade it")
    try:
        module = reader.flags().get("resource_estimator", "")
    except HttpError as error:
        # The embedded Mesos has no /flags; other agents may not let us read them.
        if error.status not in (401, 403, 404):
            raise
        logger.info("cannot see whether the agent has a resource estimator module: %s", error)
        return
    if module not in _NO_ESTIMATOR:
        raise AgentUnfit(
            f"the agent runs with --resource_estimator={module}, which would wipe out this slack at each of its"
            " updates: restart the agent without it"
        )


def check_ours(reader: AgentReader, agent_id: str, info: Json, provider_id: str | None) -> None:
    """Checks that the agent is still `agent_id`, and has no provider of our type and name but `provider_id`.

    Two estimators that share a state folder are kept apart by locks; two that do not, by this check.

    Raises:
        Crowded: there is another provider.
        Unreachable, HttpError: the agent does not tell, or it has another id now.
    """
    found_id, providers = reader.id_and_providers()
    if found_id != agent_id:
        raise Unreachable(f"at {reader.endpoint} is agent {found_id or 'without an id'} now, and no more {agent_id}")
    alike = [each for *named, each in providers if named == [info["type"], info["name"]]]
    others = [each for each in alike if each != provider_id]
    if others:
        raise Crowded(
            f"{node.ANOTHER_ESTIMATOR}: the agent has slack from resource provider {others[0]}, which another process"
            " with a --state-dir of its own runs: end one of the two"
        )

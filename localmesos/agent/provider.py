"""The resource provider manager of the agent: which providers there are, and what they are asked to publish.

Local resource providers subscribe to the agent and report a total.  Before a launch on their
resources they are asked to publish them, and the launch waits for the answer.  Pure, like the
agent it belongs to; behaviour measured on Mesos 1.11 and 1.12 (``src/resource_provider/manager.cpp``).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serenity.localmesos.agent.checkpoint import Checkpoints
from serenity.localmesos.messages import CallRefused, Close, Outbox, ProviderState, Send
from serenity.localmesos.tasks import new_uuid
from serenity.wire.mesos.resources import Json, ResourceError, Resources

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Publication:
    """The publications that a launch waits for, one a provider."""

    container_id: str
    task_ids: tuple[str, ...]
    first_launch: bool  # For the container's first task: the container does not exist yet.
    waiting: dict[str, str] = field(default_factory=dict)  # Provider id by the uuid of the unanswered request.
    failure: str | None = None

    @property
    def done(self) -> bool:
        return self.failure is not None or not self.waiting


@dataclass(slots=True, eq=False)
class _Provider:
    info: Json
    stream_id: str
    state: ProviderState | None = None  # None until its first UPDATE_STATE.


class ResourceProviders:
    """All resource providers of one agent."""

    def __init__(self, outbox: Outbox, checkpoints: Checkpoints, known: Mapping[str, tuple[str, str]]) -> None:
        """`known`: type and name by id, from the checkpoint; an id keeps both for good."""
        self._outbox = outbox
        self._checkpoints = checkpoints
        self._known = dict(known)
        self._subscribed: dict[str, _Provider] = {}
        self._publications: list[Publication] = []

    @property
    def states(self) -> Mapping[str, ProviderState]:
        """The state of every subscribed provider that has reported one."""
        return {pid: each.state for pid, each in self._subscribed.items() if each.state is not None}

    @property
    def subscribed(self) -> list[tuple[Json, Resources]]:
        """Info and total of every subscribed provider; the total is empty for one that has not reported."""
        return [
            (each.info, Resources() if each.state is None else each.state.total) for each in self._subscribed.values()
        ]

    # -- calls -------------------------------------------------------------------------

    def subscribe(self, stream_id: str, call: Mapping[str, Any]) -> None:
        """SUBSCRIBE.  With an id that is not known the stream ends without an event, as in Mesos.

        Raises:
            CallRefused
        """
        if "subscribe" not in call:
            raise _invalid("Expecting 'subscribe' to be present")
        info: Json = dict(call["subscribe"]["resource_provider_info"])
        named = (info["type"], info["name"])
        provider_id = info.get("id", {}).get("value")
        if provider_id is None:
            provider_id = str(uuid.uuid4())
            info["id"] = {"value": provider_id}
            self._known[provider_id] = named
            self._checkpoints.providers(self._known)
        elif self._known.get(provider_id) != named:
            logger.warning("resource provider %s is not known as %s, dropped", provider_id, named)
            self._outbox.append(Close(stream_id))
            return
        old = self._subscribed.get(provider_id)
        if old is not None:
            logger.error("two live streams of resource provider %s: a real agent would have aborted here", provider_id)
            self._outbox.append(Close(old.stream_id))
        self._subscribed[provider_id] = _Provider(info, stream_id, None if old is None else old.state)
        subscribed = {"provider_id": {"value": provider_id}}
        self._outbox.append(Send(stream_id, {"type": "SUBSCRIBED", "subscribed": subscribed}))

    def call(self, stream_id: str | None, call: Mapping[str, Any]) -> None:
        """UPDATE_STATE and UPDATE_PUBLISH_RESOURCES_STATUS; `finished` gives the publications that these finished.

        Raises:
            CallRefused
        """
        kind = str(call["type"])
        handlers: dict[str, Callable[[str, _Provider, Json], None]] = {
            "UPDATE_STATE": self._update_state,
            "UPDATE_PUBLISH_RESOURCES_STATUS": self._update_publication,
            "UPDATE_OPERATION_STATUS": lambda provider_id, provider, update: None,  # No operation was ever applied.
        }
        if kind in handlers:
            if "resource_provider_id" not in call:
                raise _invalid("Expecting 'resource_provider_id' to be present")
            if kind.lower() not in call:
                raise _invalid(f"Expecting '{kind.lower()}' to be present")
        provider_id = call.get("resource_provider_id", {}).get("value")
        provider = self._subscribed.get(provider_id)
        if provider is None:
            raise CallRefused(400, "Resource provider is not subscribed")
        update = call.get(kind.lower(), {})
        if any(each.get("provider_id", {}).get("value") != provider_id for each in update.get("resources", [])):
            raise CallRefused(400, "Inconsistent call: Inconsistent resource provider ID in 'update_state'")
        if stream_id is None:
            raise CallRefused(400, "All non-subscribe calls should include to 'Mesos-Stream-Id' header")
        if stream_id != provider.stream_id:
            raise CallRefused(
                400,
                f"The stream ID '{stream_id}' included in this request didn't match the stream ID currently "
                f"associated with  resource provider ID {provider_id}",
            )
        if kind not in handlers:
            raise CallRefused(501, "501 Not Implemented.")
        handlers[kind](provider_id, provider, update)

    def _update_state(self, provider_id: str, provider: _Provider, update: Json) -> None:
        total = Resources()
        for each in update.get("resources", []):
            try:
                total += Resources.from_json([each])
            except ResourceError as error:
                # Mesos answers 202 all the same, and leaves out negative resources (seen on 1.11).
                logger.warning("resource provider %s: %s", provider_id, error)
        provider.state = ProviderState(provider.info, total, update["resource_version_uuid"]["value"])

    def _update_publication(self, provider_id: str, provider: _Provider, update: Json) -> None:
        answered = update["uuid"]["value"]
        for publication in self._publications:
            if publication.waiting.get(answered) == provider_id:
                del publication.waiting[answered]
                if update["status"] != "OK":
                    publication.failure = f"Received {update['status']} status"
                return
        logger.warning("resource provider %s answers a publication that nobody asked for", provider_id)

    def stream_closed(self, stream_id: str) -> bool:
        """Whether the stream was a provider's: its resources are gone, its unanswered publications have failed."""
        for provider_id, provider in self._subscribed.items():
            if provider.stream_id == stream_id:
                del self._subscribed[provider_id]
                for publication in self._publications:
                    if provider_id in publication.waiting.values():
                        publication.failure = f"Failed to publish resources: provider {provider_id} disconnected"
                return True
        return False

    # -- publications ------------------------------------------------------------------

    def publish(self, publication: Publication, resources: Resources) -> None:
        """Asks each provider of `resources` to publish them; `finished` tells when all have answered.

        Args:
            resources: all that is in use of these providers' resources on the agent, by the new tasks, too.
        """
        for provider_id in sorted({kind.provider_id for kind in resources.kinds if kind.provider_id is not None}):
            provider = self._subscribed.get(provider_id)
            if provider is None:
                publication.failure = f"Resource provider {provider_id} is not subscribed"
                continue
            asked = new_uuid()
            publication.waiting[asked] = provider_id
            publish = {"uuid": {"value": asked}, "resources": resources.of_provider(provider_id).to_json()}
            self._outbox.append(Send(provider.stream_id, {"type": "PUBLISH_RESOURCES", "publish_resources": publish}))
        self._publications.append(publication)

    def finished(self) -> list[Publication]:
        """Takes out the publications that are answered or have failed, in the order in which they began."""
        done = [publication for publication in self._publications if publication.done]
        self._publications = [publication for publication in self._publications if not publication.done]
        return done


def _invalid(text: str) -> CallRefused:
    return CallRefused(400, f"Failed to validate resource_provider::Call: {text}")

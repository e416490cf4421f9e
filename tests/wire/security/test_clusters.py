"""The drivers over TLS, against whole Mesoses; and against a real one that asks everybody who they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.mesos.state import AgentReader, MasterReader
from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.credentials import Credential, read_credential
from serenity.wire.transport.http import HttpError
from tests.wire.security.conftest import Authority
from tests.wire.security.fronts import Front
from tests.wire.security.guarded import PRINCIPAL, SECRET, guarded_options, secret_file

ROLE = "security-test"
INFO = {"type": "org.serenity.slack", "name": "security"}


@pytest.fixture
def scheduler() -> Iterator[Callable[..., SchedulerDriver]]:
    made: list[SchedulerDriver] = []

    def start(told: Any, master: str, access: Access, **more: Any) -> SchedulerDriver:
        info = {"user": "nobody", "name": "security", "roles": [ROLE], "failover_timeout": 60.0, **more}
        info["capabilities"] = [{"type": each} for each in ("REVOCABLE_RESOURCES", "MULTI_ROLE")]
        made.append(SchedulerDriver(told, info, master, access=access))
        made[-1].start()
        return made[-1]

    yield start
    for driver in made:
        driver.stop(failover=not driver.subscribed)


@pytest.fixture
def provider() -> Iterator[Callable[..., ProviderDriver]]:
    made: list[ProviderDriver] = []

    def start(told: Any, agent: str, access: Access) -> ProviderDriver:
        made.append(ProviderDriver(told, agent, INFO, access=access))
        made[-1].start()
        return made[-1]

    yield start
    for driver in made:
        driver.stop()


def reserved_cpus(leading: Any, access: Access) -> float:
    (agent,) = MasterReader(leading, access=access).agents()
    return float(agent["reserved_resources"].get(ROLE, {}).get("cpus_revocable", 0.0))


def test_scheduler_and_provider_over_tls(
    cluster: Any,
    front: Callable[..., Front],
    authority: Authority,
    scheduler: Callable[..., SchedulerDriver],
    provider: Callable[..., ProviderDriver],
    recorder: Any,
    eventually: Callable[..., Any],
) -> None:
    master = front(cluster.master, authority.server())
    agent = front(cluster.agent, authority.server())
    driver = scheduler(recorder, f"https://localhost:{master.port}", authority.access)
    eventually(lambda: "resourceOffers" in recorder.names())
    offers = next(told[1] for told in recorder.told if told[0] == "resourceOffers")
    driver.declineOffer([each["id"] for each in offers], {"refuse_seconds": 0})
    told = type(recorder)()
    estimator = provider(told, f"https://{agent.address}", authority.access)
    eventually(lambda: estimator.subscribed)
    estimator.update_state(slack(ROLE, cpus=0.5), new_version())
    eventually(lambda: reserved_cpus(driver.leading, authority.access) == 0.5)
    assert AgentReader(f"https://{agent.address}", access=authority.access).look().identity.cpus > 0
    driver.reopen()
    eventually(lambda: "reregistered" in recorder.names())
    assert "error" not in recorder.names()


# -- a real Mesos that asks everybody who they are ------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(guarded_options(tmp_path_factory.mktemp("guarded"))) as running:
        yield running


@pytest.fixture
def serenity(tmp_path: Path) -> Access:
    """Who may."""
    return Access(authorization=read_credential(str(secret_file(tmp_path)), None).basic, principal=PRINCIPAL)


@pytest.mark.real_mesos
def test_with_its_secret_everything_is_let_in(
    guarded: Cluster,
    serenity: Access,
    scheduler: Callable[..., SchedulerDriver],
    provider: Callable[..., ProviderDriver],
    recorder: Any,
    eventually: Callable[..., Any],
) -> None:
    driver = scheduler(recorder, guarded.master, serenity, principal=PRINCIPAL)
    eventually(lambda: "resourceOffers" in recorder.names())
    driver.suppressOffers()
    told = type(recorder)()
    estimator = provider(told, guarded.agent, serenity)
    eventually(lambda: estimator.subscribed)
    estimator.update_state(slack(ROLE, cpus=0.5), new_version())
    eventually(lambda: reserved_cpus(driver.leading, serenity) == 0.5)
    assert AgentReader(guarded.agent, access=serenity).look().identity.cpus > 0


@pytest.mark.real_mesos
def test_who_is_not_known_is_told_so_once_and_for_all(
    guarded: Cluster, scheduler: Callable[..., SchedulerDriver], recorder: Any
) -> None:
    strangers = (Credential(PRINCIPAL, "wrong"), Credential("nobody", SECRET))
    for access in (ANONYMOUS, *(Access(authorization=each.basic) for each in strangers)):
        told = type(recorder)()
        driver = scheduler(told, guarded.master, access)
        driver.join()
        ((name, message),) = told.told
        assert name == "error" and "HTTP 401" in message and "Check the principal, its secret" in message


@pytest.mark.real_mesos
def test_another_principal_than_the_framework_s_own_is_refused(
    guarded: Cluster, serenity: Access, scheduler: Callable[..., SchedulerDriver], recorder: Any
) -> None:
    scheduler(recorder, guarded.master, serenity, principal="other").join()
    ((name, message),) = recorder.told
    assert name == "error" and "HTTP 400" in message and "'serenity' does not match principal 'other'" in message


@pytest.mark.real_mesos
def test_an_agent_that_asks_says_nothing_to_strangers(guarded: Cluster) -> None:
    with pytest.raises(HttpError, match="asked by nobody: check principal and secret_file: HTTP 401"):
        AgentReader(guarded.agent).look()

from __future__ import annotations

import pytest

from serenity.estimator.agent.suitability import AgentUnfit, check
from serenity.wire.transport.http import HttpError


class Agent:
    def __init__(self, version="1.11.0", flags=None, status=None):
        self._version, self._flags, self._status = version, flags or {}, status

    def version(self):
        return self._version

    def flags(self):
        if self._status is not None:
            raise HttpError(self._status, b"", "GET /flags")
        return self._flags


@pytest.mark.parametrize("version", ["1.8.0", "1.11.0", "1.12.0-rc1", "2.0.0"])
def test_versions_that_can_be_relied_on(version):
    assert check(Agent(version)) is None  # And nothing was raised.


@pytest.mark.parametrize("version", ["1.7.3", "1.5.0", "0.28.2", "nightly"])
def test_older_ones_are_refused_with_the_remedy(version):
    with pytest.raises(AgentUnfit, match=r"1\.8\.0"):
        check(Agent(version))


def test_a_resource_estimator_module_is_refused_by_name():
    with pytest.raises(AgentUnfit, match=r"org_example_Estimator.*restart the agent without it"):
        check(Agent(flags={"resource_estimator": "org_example_Estimator"}))
    check(Agent(flags={"resource_estimator": "noop"}))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_agent_that_does_not_show_its_flags_is_taken(status):
    assert check(Agent(status=status)) is None


def test_one_that_is_still_recovering_is_asked_again():
    with pytest.raises(HttpError):
        check(Agent(status=503))

"""A stack that a module's tests share; modules that need another make their own fixture `running`."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.clusters import KINDS, last_words
from tests.end_to_end.running import Running, running_stack


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_stack(request.param) as stack:
        yield stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows the ends of all logs, and its stack's work directory is kept."""
    report = yield
    running = item.funcargs.get("running") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(running, Running):
        running.failed = True
        report.sections.append((f"kept: {running.work_dir}", last_words(running.logs)))
    return report

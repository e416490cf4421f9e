"""What tests of several rooms use: a Mesos to run against."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions, find_mesos
from tests.clusters import KINDS, cluster_options, last_words, with_patient_executor


def pytest_configure() -> None:
    # A shell that starts the tests in its background has Ctrl-C ignored, and so would every process that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test go first: whichever worker began one last would keep the others waiting."""
    slow = {each.path for each in items if each.get_closest_marker("slow")}
    items.sort(key=lambda each: each.path not in slow)


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    """A daemon's entry point that a test has called has set up the process's logging; the next test begins without."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for each in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(each)
    root.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _a_mesos_that_tells_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if (mesos := find_mesos(None)) is not None:
            patch.setenv("SERENITY_MESOS_BIN", str(with_patient_executor(mesos, tmp_path_factory.mktemp("mesos"))))
        yield


@contextlib.contextmanager
def _running(options: ClusterOptions) -> Iterator[Cluster]:
    cluster = Cluster(options)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session", params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Mesos that all tests share, each with frameworks of its own: the embedded one, then a real one."""
    with _running(cluster_options(request.param, tmp_path_factory.mktemp(request.param))) as running:
        yield running


@pytest.fixture(params=KINDS)
def own_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A Mesos of the test's own, whose executors have 2 s to register and 1 s to shut down."""
    flags = {"executor_registration_timeout": "2secs", "executor_shutdown_grace_period": "1secs"}
    with _running(cluster_options(request.param, tmp_path, agent_flags=flags)) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what its Mesos said last; pytest keeps the logs themselves for three runs."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for each in item.funcargs.values():
            if isinstance(each, Cluster):
                report.sections.append((f"logs in {each.options.work_dir}", last_words(each.logs)))
    return report

"""Every test here runs on our driver and on plain pymesos, the untouched text of its sdist, each in its own process."""

from __future__ import annotations

import hashlib
import importlib.util
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.defects.driven import HERE, Nursery, Program

_REPOSITORY = Path(__file__).resolve().parents[3]
# A plain driver that hangs is waited for in vain.
_PATIENCE_S, _PATIENCE_IN_VAIN_S = 20.0, 0.7


@pytest.fixture(scope="session")
def plain_pymesos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import plain pymesos from, out of the sdist that the build has left beside the vendored copy."""
    spec = importlib.util.spec_from_file_location("vendoring", _REPOSITORY / "build_backend" / "vendoring.py")
    assert spec is not None and spec.loader is not None
    vendoring = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vendoring)
    sdist = vendoring.VENDOR / f"{vendoring.RELEASE}.tar.gz"
    if not sdist.exists():
        pytest.skip(f"no {sdist.name} in {sdist.parent}; build again (make venv) to have plain pymesos to compare with")
    assert hashlib.sha256(sdist.read_bytes()).hexdigest() == vendoring.SDIST_SHA256
    folder = tmp_path_factory.mktemp("plain-pymesos")
    (folder / "pymesos").mkdir()
    with tarfile.open(sdist) as archive:
        for name in vendoring.MODULES:
            module = archive.extractfile(f"{vendoring.RELEASE}/pymesos/{name}")
            assert module is not None
            (folder / "pymesos" / name).write_bytes(module.read())
    return folder


@pytest.fixture(scope="session")
def nursery_of_serenity() -> Iterator[Nursery]:
    nursery = Nursery("serenity", [])
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def nursery_of_plain(plain_pymesos: Path) -> Iterator[Nursery]:
    nursery = Nursery("plain", [plain_pymesos, HERE / "stand_in"])
    yield nursery
    nursery.close()


@pytest.fixture
def start(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, environ: dict[str, str]
) -> Iterator[Callable[[], Program]]:
    """Starts a process: for plain pymesos, or for ours."""
    nursery = request.getfixturevalue(f"nursery_of_{kind}")
    in_vain = request.node.get_closest_marker("xfail") is not None
    started: list[Program] = []

    def program() -> Program:
        log = tmp_path / f"{len(started)}.log"
        started.append(Program(nursery, environ, log, _PATIENCE_IN_VAIN_S if in_vain else _PATIENCE_S))
        return started[-1]

    yield program
    for each in started:
        each.close()


@pytest.fixture
def environ() -> dict[str, str]:
    """What the process has in its environment beside ours."""
    return {}


@pytest.fixture
def master(peer: Any, shape: Callable[[str], Any]) -> Any:
    """A peer that subscribes schedulers."""
    peer.greeting = shape("scheduler_events.json")[0]
    peer.pages["/version"] = {"version": "1.12.0"}
    return peer


@pytest.fixture
def agent(peer: Any, shape: Callable[[str], Any], environ: dict[str, str]) -> Any:
    """A peer that subscribes executors; its executor's environment is in `environ`."""
    recorded = shape("executor.json")
    peer.greeting = next(each for each in recorded["events"] if each["type"] == "SUBSCRIBED")
    environ.update(recorded["environ"], MESOS_AGENT_ENDPOINT=peer.address)
    return peer

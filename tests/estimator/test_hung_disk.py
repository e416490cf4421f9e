"""The estimator's process on a state folder whose disk hangs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serenity.wire.messages import node
from tests.estimator.conftest import Estimator
from tests.estimator.made_up_agent import PIPELINE, launch, running_agent
from tests.polling import eventually
from tests.wire.conftest import Peer

# A stop waits for the provider's last launches, and for the disk, some seconds each.
_ENDS_WITHIN_S = 20.0


@pytest.fixture
def agent() -> Iterator[Peer]:
    with running_agent() as made:
        yield made


@pytest.fixture
def start(agent: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Estimator]]:
    made: list[Estimator] = []

    def begin(state_folder: Path) -> Estimator:
        folder = tmp_path_factory.mktemp("e")
        (folder / "faults.toml").write_text(PIPELINE)
        more = ("--pipeline", str(folder / "faults.toml"), "--state-dir", str(state_folder))
        made.append(Estimator(agent.address, folder, *more).start())
        return made[-1]

    yield begin
    for each in made:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def frames(estimator: Estimator) -> int:
    found = re.search(rb"^serenity_estimator_frames_total (\d+)", estimator.get("/metrics")[1], re.MULTILINE)
    return int(found[1]) if found else 0


def hold(estimator: Estimator) -> node.Leases:
    """What an operator is answered who takes a lease that a restart shall not end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as operator:
        operator.settimeout(30.0)
        operator.connect(str(estimator.socket))
        lease = node.Lease(holder="operator ann", reason="disk", ttl_s=600.0)
        operator.sendall(node.encode_line(node.Operator(pid=os.getpid())) + node.encode_line(lease))
        with operator.makefile("rb") as lines:
            lines.readline()
            answer = node.decode_to_executor(lines.readline())
    assert isinstance(answer, node.Leases)
    return answer


def it_goes_on(agent: Peer, estimator: Estimator) -> None:
    before = frames(estimator)
    for number in range(5):
        launch(agent, f"launch-{before}-{number}")
    # Beyond the ten after which they are written.
    eventually(lambda: frames(estimator) >= before + 15, "frames go on")
    launch(agent, f"launch-{before}-last")


@pytest.mark.parametrize("name", ["agent-1.frames/0000000000.z", "agent-1.leases", "agent-1.provider"])
def test_launches_and_frames_go_on_beside_a_write_that_hangs(
    agent: Peer, start: Callable[..., Estimator], tmp_path: Path, name: str
) -> None:
    file = tmp_path / f"{name}.new"
    file.parent.mkdir(exist_ok=True)
    os.mkfifo(file)  # Whoever opens it to write waits for somebody who reads.
    estimator = start(tmp_path)
    eventually(lambda: frames(estimator) and agent.streams, "a subscription")
    assert [each.holder for each in hold(estimator).leases] == ["operator ann"]
    it_goes_on(agent, estimator)
    code, took_s = estimator.end()
    assert code == 0 and took_s < _ENDS_WITHIN_S
    if "provider" not in name:  # For that one nobody waits at the end: it is told of no slack.
        assert f"{tmp_path} hangs: what was learnt of late is not kept" in estimator.log.read_text()


def test_an_operator_is_told_of_a_lease_once_it_is_on_disk(
    agent: Peer, start: Callable[..., Estimator], tmp_path: Path
) -> None:
    estimator = start(tmp_path)
    eventually(lambda: frames(estimator) and agent.streams, "a subscription")
    assert hold(estimator).leases
    assert b"operator ann" in (tmp_path / "agent-1.leases").read_bytes()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextlib.contextmanager
def file_system(folder: Path) -> Iterator[Callable[[bool], None]]:
    """An ext4 of its own, mounted at `folder`: freezes it, or thaws it.  Thawed and unmounted in all cases."""
    image = folder.with_name("image")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)]):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    # Sees the end of its input also when this process is killed.
    undo = f"read _; fsfreeze -u {folder}; for _ in 1 2 3 4 5; do umount {folder} && break; sleep 1; done"
    with subprocess.Popen(["sh", "-c", undo], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as undoing:
        try:
            yield (
                lambda frozen: subprocess.run(["fsfreeze", "-f" if frozen else "-u", str(folder)], check=True) and None
            )
        finally:
            assert undoing.stdin is not None
            undoing.stdin.close()


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can freeze a file system")
@pytest.mark.skipif(not all(map(shutil.which, ("mkfs.ext4", "fsfreeze"))), reason="no mkfs.ext4 and fsfreeze")
def test_launches_and_frames_go_on_while_the_file_system_is_frozen(
    agent: Peer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with file_system(tmp_path / "state") as freeze:
        folder = tmp_path_factory.mktemp("e")
        (folder / "faults.toml").write_text(PIPELINE)
        more = ("--pipeline", str(folder / "faults.toml"), "--state-dir", str(tmp_path / "state"))
        estimator = Estimator(agent.address, folder, *more).start()
        assert estimator.process is not None
        try:
            eventually(lambda: frames(estimator) and agent.streams, "a subscription")
            eventually(lambda: (tmp_path / "state/agent-1.provider").exists(), "the provider's id")
            freeze(True)
            it_goes_on(agent, estimator)
            assert hold(estimator).leases
            estimator.process.terminate()
            eventually(lambda: " hangs: what was learnt of late is not kept" in estimator.log.read_text(), "its end")
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):  # It was not frozen yet.
                freeze(False)
            estimator.process.terminate()  # Once more: if it has not ended, that is at once.
            estimator.process.wait(60.0)

"""Plays sequences one after the other on one stack, and judges them, and then what the stack itself has left."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serenity.cli.demo.production import Service, sli_labels
from serenity.cli.stack import free_agent_port
from serenity.qos.contention import CAUSES
from tests.end_to_end.running import CPUS, MEM_MB, QUICK, Running, running_stack
from tests.survival.judgement import Judge
from tests.survival.player import Hands, Player
from tests.survival.sequence import Sequence
from tests.survival.tasks import Job, Traces, Way

_TOUCHY = Path(__file__).parent.parent / "end_to_end" / "touchy_service.py"
# Harm throttles and freezes, and evicts nobody: an evicted job is not run again on its agent for minutes.
_SETTINGS: dict[str, Any] = {
    "SERENITY_EXECUTOR_RUNG0": "false",
    "SERENITY_EXECUTOR_WATCH_S": "0.5",
    "SERENITY_EXECUTOR_RECOVER_S": "0.5",
    "SERENITY_EXECUTOR_HOLD_S": "0.5",
    "SERENITY_EXECUTOR_PIPELINE": str(QUICK),
    "SERENITY_EXECUTOR_POLICY": ",".join(f"{cause}=freeze" for cause in CAUSES),
}


@dataclass(frozen=True)
class Played:
    """`attempts`: how many there were, `lost`: how many of them were taken away and run again."""

    sequence: Sequence
    mistakes: tuple[str, ...]
    attempts: int
    lost: int
    took_s: float
    work_dir: Path


class LeftBehindError(AssertionError):
    """By a stack after its end; the text says what, and where its logs are."""


def play_all(kind: str, sequences: list[Sequence]) -> tuple[list[Played], int]:
    """Those that were played, all, on as many stacks as it takes; and how many stacks have left something behind."""
    played: list[Played] = []
    left_behind = 0
    while len(played) < len(sequences):
        before = len(played)
        try:
            for each in play_on_one_stack(kind, sequences[before:]):
                played.append(each)
                _say(each)
        except LeftBehindError as error:
            left_behind += 1
            after = ", ".join(str(each.sequence.number) for each in played[before:])
            print(f"FAILED: after the sequences {after} of seed {sequences[0].seed}: {error}", flush=True)
            if len(played) == before:
                break
    return played, left_behind


def _say(played: Played) -> None:
    how = "FAILED" if played.mistakes else "survived"
    print(f"{how}: {played.sequence.number}, {played.attempts} attempts, {played.lost} lost, {played.took_s:.1f} s")
    if played.mistakes:
        print("  " + "\n  ".join([str(played.sequence), "mistakes:", *played.mistakes, f"logs: {played.work_dir}"]))
    sys.stdout.flush()


def play_on_one_stack(kind: str, sequences: Iterable[Sequence]) -> Iterator[Played]:
    """Until one has made a mistake: its stack is then of no use to another.

    At the end of all a job still runs whose processes do not go by themselves.

    Raises LeftBehindError.
    """
    with tempfile.TemporaryDirectory(prefix="serenity-survival-") as folder:
        hurt_file = Path(folder, "hurt")
        with contextlib.closing(Hands()) as hands:
            try:
                with running_stack(kind, _production(hurt_file), lined=True, **_SETTINGS) as running:
                    player = Player(running, hurt_file, hands)
                    for sequence in sequences:
                        played = _play(player, running, sequence)
                        running.failed = running.failed or bool(played.mistakes)
                        yield played
                        if played.mistakes:
                            return
                    _leave_a_family(running)
            except AssertionError as error:
                raise LeftBehindError(str(error)) from error


def _production(hurt_file: Path) -> list[Service]:
    port = free_agent_port()
    command = (sys.executable, "-P", str(_TOUCHY), str(port), str(hurt_file))
    return [
        Service("touchy", command, CPUS * 0.25, 256, sli_labels(f"127.0.0.1:{port}"), port),
        Service("idle", ("sleep", "3600"), CPUS * 0.6, MEM_MB * 0.6),
    ]


def _play(player: Player, running: Running, sequence: Sequence) -> Played:
    began_s = time.monotonic()
    traces = Traces(running.work_dir / "traces" / f"{sequence.number:06}")
    attempts: list[dict[str, Any]] = []
    try:
        jobs = player.play(sequence, traces)
        mistakes = Judge(running, sequence, traces, jobs).mistakes()
        attempts = [each for job in jobs.values() for each in running.attempts(job)]
    except Exception as error:  # noqa: BLE001 - somebody did not come back, or refused what he should take.
        mistakes = traceback.format_exception(error)
    lost = sum(each["state"] == "lost" for each in attempts)
    return Played(sequence, tuple(mistakes), len(attempts), lost, time.monotonic() - began_s, running.work_dir)


def _leave_a_family(running: Running) -> None:
    job = Job("last", 0.0, Way.STUBBORN)
    traces = Traces(running.work_dir / "traces" / "last")
    running.wait_for_running(running.run(*job.command(traces.folder), name=job.name, grace_s=0.5))

"""What the demo measured: pure functions from samples and events to the report, and its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serenity.cli.demo.load import percentile_ms
from serenity.cli.demo.progress import indented

# Each phase is judged by its last ten seconds, when the effects of its beginning have settled.
JUDGED_S = 10.0
RECOVERED_SHARE = 0.9
RECOVERED_FOR_S = 3
MOST_UNPROTECTED_SHARE = 0.6
MOST_DETECTION_S = 5.0


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the service, as its clients saw it.  `t`: seconds since the epoch, at its end."""

    t: float
    ops_per_s: float
    p99_ms: float
    given_up_per_s: float
    latencies_ms: Mapping[int, int] = field(repr=False)

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Second:
        latencies = {int(ms): int(count) for ms, count in line["latencies_ms"].items()}
        return cls(line["t"], line["ops_per_s"], line["p99_ms"], line["given_up_per_s"], latencies)


@dataclass(frozen=True, slots=True)
class Phase:
    """From `start` to `end`, seconds since the epoch."""

    name: str
    start: float
    end: float

    def seconds(self, all_seconds: Sequence[Second], last_s: float | None = None) -> list[Second]:
        """The seconds that lie wholly within the phase, or within its `last_s`."""
        start = self.start if last_s is None else max(self.start, self.end - last_s)
        return [each for each in all_seconds if start + 1.0 <= each.t + 0.05 and each.t <= self.end + 0.05]


@dataclass(frozen=True, slots=True)
class Figures:
    ops_per_s: float
    p99_ms: float
    given_up_per_s: float

    @classmethod
    def of(cls, seconds: Sequence[Second]) -> Figures:
        """Raises ValueError when there is nothing to judge."""
        if not seconds:
            raise ValueError("the load has reported no second of this phase")
        latencies: Counter[int] = Counter()
        for each in seconds:
            latencies.update(each.latencies_ms)
        count = len(seconds)
        return cls(
            sum(each.ops_per_s for each in seconds) / count,
            float(percentile_ms(latencies, 0.99)),
            sum(each.given_up_per_s for each in seconds) / count,
        )

    def to_json(self) -> dict[str, float]:
        return {
            "ops_per_s": round(self.ops_per_s, 1),
            "p99_ms": self.p99_ms,
            "given_up_per_s": round(self.given_up_per_s, 1),
        }


@dataclass(frozen=True, slots=True)
class Correction:
    """What an executor did to a task.  `at`: seconds since the epoch."""

    at: float
    action: str
    task: str
    outcome: str


@dataclass(frozen=True)
class Measurements:
    """Everything that the report is made of.  `onset`: when the aggressors of the protected phase began."""

    setting: Mapping[str, Any]
    phases: Sequence[Phase]
    seconds: Sequence[Second]
    onset: float
    corrections: Sequence[Correction]
    kills: Sequence[Mapping[str, Any]]  # Full records, in order of decision.
    kill_lines: Sequence[str]
    harmless_state: str
    harmless_attempts: int

    def phase(self, name: str) -> Phase:
        return next(each for each in self.phases if each.name == name)

    def figures(self, name: str) -> Figures:
        return Figures.of(self.phase(name).seconds(self.seconds, JUDGED_S))


def detection_s(measured: Measurements) -> float | None:
    """From the aggressors' start to the first correction; None when there was none."""
    first = min((each.at for each in measured.corrections if each.at >= measured.onset), default=None)
    return None if first is None else first - measured.onset


def recovery_s(measured: Measurements) -> float | None:
    """From the aggressors' start to the first of three good seconds after the harm; 0 if no harm was done."""
    enough = RECOVERED_SHARE * measured.figures("alone").ops_per_s
    after = [each for each in measured.phase("protected").seconds(measured.seconds) if each.t >= measured.onset]
    good = [each.ops_per_s >= enough for each in after]
    if all(good):
        return 0.0
    for i in range(good.index(False), len(good) - RECOVERED_FOR_S + 1):
        if all(good[i : i + RECOVERED_FOR_S]):
            return after[i].t - measured.onset
    return None


@dataclass(frozen=True, slots=True)
class Expectation:
    text: str
    found: str
    met: bool


def expectations(measured: Measurements) -> list[Expectation]:
    """What the demo promises, and whether this run kept it."""
    alone = measured.figures("alone").ops_per_s
    unprotected = measured.figures("unprotected").ops_per_s / alone
    protected = measured.figures("protected").ops_per_s / alone
    detected = detection_s(measured)
    evictions = [each for each in measured.kills if complete(each)]
    return [
        Expectation(
            f"unprotected, production keeps at most {MOST_UNPROTECTED_SHARE:.0%}",
            f"{unprotected:.0%}",
            unprotected <= MOST_UNPROTECTED_SHARE,
        ),
        Expectation(
            f"protected, it has at least {RECOVERED_SHARE:.0%} back",
            f"{protected:.0%}",
            protected >= RECOVERED_SHARE,
        ),
        Expectation(
            f"detected within {MOST_DETECTION_S:.0f} s",
            "never" if detected is None else f"{detected:.1f} s",
            detected is not None and detected <= MOST_DETECTION_S,
        ),
        Expectation(
            "the harmless task was left alone",
            measured.harmless_state,
            measured.harmless_state == "running" and measured.harmless_attempts == 1,
        ),
        Expectation("an eviction says why, whom for, and who else was suspected", str(len(evictions)), bool(evictions)),
    ]


def complete(record: Mapping[str, Any]) -> bool:
    """Whether a kill record names the protected task, the signal with its values, and the suspects."""
    protected, signal, selection = (record.get(part) or {} for part in ("protected", "signal", "selection"))
    return bool(
        protected.get("task")
        and isinstance(signal.get("observed"), int | float)
        and isinstance(signal.get("baseline"), int | float)
        and selection.get("candidates")
    )


def to_json(measured: Measurements) -> dict[str, Any]:
    """The content of report.json."""
    detected, recovered = detection_s(measured), recovery_s(measured)
    return {
        "report": 1,
        "setting": dict(measured.setting),
        "judged_by": f"the last {JUDGED_S:.0f} s of each phase",
        "phases": {
            each.name: {**measured.figures(each.name).to_json(), "start": each.start, "end": each.end}
            for each in measured.phases
        },
        "onset": measured.onset,
        "detection_s": None if detected is None else round(detected, 2),
        "recovery_s": None if recovered is None else round(recovered, 2),
        "harmless": {"state": measured.harmless_state, "attempts": measured.harmless_attempts},
        "kills": [dict(each) for each in measured.kills],
        "corrections": [
            {"at": each.at, "action": each.action, "task": each.task, "outcome": each.outcome}
            for each in measured.corrections
        ],
        "expectations": [{"text": e.text, "found": e.found, "met": e.met} for e in expectations(measured)],
        "seconds": [
            {"t": each.t, "ops_per_s": each.ops_per_s, "p99_ms": each.p99_ms, "given_up_per_s": each.given_up_per_s}
            for each in measured.seconds
        ],
    }


def table(measured: Measurements, width: int | None = None) -> str:
    """The report for people: figures within 80 columns; kill lines broken at `width`, None for not at all."""
    alone = measured.figures("alone").ops_per_s
    lines = [f"{'phase':<14}{'throughput':>16}{'of alone':>10}{'p99':>10}{'given up':>14}"]
    for phase in measured.phases:
        figures = measured.figures(phase.name)
        lines.append(
            f"{phase.name:<14}{figures.ops_per_s:>10,.0f} ops/s{figures.ops_per_s / alone:>10.0%}"
            f"{figures.p99_ms:>7.0f} ms{figures.given_up_per_s:>12,.0f}/s"
        )
    detected, recovered = detection_s(measured), recovery_s(measured)
    lines += [
        "",
        f"detected after  {'never' if detected is None else f'{detected:.1f} s'}",
        f"recovered after {'never' if recovered is None else f'{recovered:.1f} s'}",
        f"evicted         {len(measured.kills)}",
        "",
        *(indented(line, "  ", width) for line in measured.kill_lines),
        "",
        *(f"{'✓' if each.met else '✗'} {each.text}: {each.found}" for each in expectations(measured)),
    ]
    return "\n".join(lines)

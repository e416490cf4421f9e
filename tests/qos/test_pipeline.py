from __future__ import annotations

import dataclasses
import json
import math
import random
import re
import typing

import numpy as np
import pytest

from serenity.estimator.predictors import PREDICTORS
from serenity.qos.detectors import DETECTORS
from serenity.qos.filters import FILTERS
from serenity.qos.frame import COLUMNS, Indicator, Node
from serenity.qos.pipeline import Pipeline
from serenity.qos.stages import PipelineError, build
from serenity.qos.steady_time import SteadyTime
from serenity.qos.strategies import STRATEGIES
from serenity.qos.trace import frame_of, read_trace

STRATEGY = '[qos.strategy]\nname = "cpu_share"\n'
DROP = '[[qos.detectors]]\nname = "drop"\n'
EMA = '[[qos.filters]]\nname = "ema"\ncolumns = ["%s"]\n'
DERIVED = '[[qos.filters]]\nname = "derived"\n'


def trace(made, seconds, seed=3):
    """Production that suffers now and then, best-effort that comes and goes, samples that are missing."""
    luck = random.Random(seed)
    frames = []
    for t in range(seconds):
        hurt = t % 90 > 60
        rows = []
        for name in ("a", "b", "c"):
            if name == "c" and t % 200 > 150:
                continue
            sli = 1000.0 * luck.uniform(0.9, 1.1) * (0.5 if hurt and name != "b" else 1.0)
            columns = {"cpu": 0.5 + 0.1 * luck.random(), "run_delay": luck.random() * (2.0 if hurt else 0.1)}
            rows.append(made.production(name, **columns, **({"sli": sli} if luck.random() > 0.1 else {})))
        for name in ("x", "y", "z"):
            if luck.random() > 0.05:
                rows.append(made.best_effort(name, cpu=luck.random() * (3.0 if hurt else 0.2)))
        frames.append(made.frame(float(t), *rows, psi_cpu=luck.random()))
    return frames


def decisions(frames):
    pipeline = Pipeline.load()
    return [pipeline.step(frame) for frame in frames]


def test_the_default_pipeline_names_who_suffers_and_who_burns(made):
    findings = decisions(trace(made, 75))
    assert not any(findings[:61])
    last = {each.contention.protected.id: each for each in findings[-1]}
    assert {"a", "c"} <= last.keys()
    assert last["a"].strategy == "combined"
    assert {each.container.id for each in last["a"].suspects} <= {"x", "y", "z"}


def test_a_trace_cut_short_gives_the_same_decisions_up_to_the_cut(made):
    frames = trace(made, 400)
    whole = decisions(frames)
    assert any(whole)
    for cut in (1, 63, 64, 150, 399):
        assert decisions(frames[:cut]) == whole[:cut]


@pytest.mark.parametrize("set_back_s", [3.0, 3600.0])
def test_a_clock_that_is_set_back_blinds_nobody_and_tells_its_own_time(made, set_back_s):
    def frames(set_back_s, seconds=300):
        luck = random.Random(3)
        for t in range(seconds):
            hurt = t % 60 >= 40 and t >= 100
            rows = [
                made.production(name, sli=(500.0 if hurt else 1000.0) * luck.uniform(0.98, 1.02), psi_io=0.3 * hurt)
                for name in "ab"
            ]
            rows.append(made.best_effort("x", cpu=2.0 if hurt else 0.01))
            yield made.frame(t if t < 150 else t - set_back_s, *rows, node=Node(cpus=4.0))

    def told(set_back_s):
        """By true time: who suffers, since when."""
        for t, (frame, findings) in enumerate(zip(frames(set_back_s), decisions(frames(set_back_s)), strict=True)):
            evidence = [each.contention.evidence for each in findings]
            assert {each.window_end for each in evidence} <= {frame.t}
            yield {
                each.contention.protected.id: (t - (frame.t - since.window_start), each.suspects[0].container.id)
                for each, since in zip(findings, evidence, strict=True)
            }

    undisturbed, found = list(told(0.0)), list(told(set_back_s))
    assert [sorted(each) for each in found] == [sorted(each) for each in undisturbed]
    assert sum(map(len, found)) > 80
    for here, there in zip(found, undisturbed, strict=True):
        for name, (since, suspect) in here.items():
            # Of the second in which the clock was set nobody knows how long it was.
            assert since == pytest.approx(there[name][0], abs=1.0) and suspect == there[name][1]


def test_a_clock_that_is_set_back_more_than_once():
    steady = SteadyTime()
    assert [steady.of(t) for t in (5.0, 6.0, 1.0, 2.0, 4.0, 3.0, 4.0)] == [5.0, 6.0, 6.0, 7.0, 9.0, 9.0, 10.0]
    t = [steady.of(1.7e9 + 0.1 * (k % 7)) for k in range(500)]
    assert t == sorted(t)


def replayed(frames, folder):
    path = folder / "recorded.jsonl"
    path.write_text("\n".join(['{"trace": 1}', *(json.dumps(each.to_json()) for each in frames)]))
    return list(read_trace(path))


def told_late(made, better="higher"):
    """Frames of a container whose indicator is asked once its process is known, and cannot be for a while."""
    luck = random.Random(4)
    means = Indicator("p99", "ms", better)
    for t in range(800):
        hurt = 600 <= t < 660 or t >= 760
        asked = t >= 4 and not 680 <= t < 700
        sli = (0.5 if hurt else 1.0) ** (1 if better == "higher" else -1) * luck.uniform(0.95, 1.05)
        told = made.production("web", means if asked else None, cpu=1.0, sli=sli if asked else math.nan)
        yield made.frame(float(t), told, made.best_effort("x", cpu=2.0 if hurt else 0.1))


@pytest.mark.parametrize("given", [lambda made: trace(made, 150), told_late, lambda made: told_late(made, "lower")])
def test_a_recorded_trace_gives_the_decisions_of_the_live_frames(made, tmp_path, given):
    frames = list(given(made))
    live = decisions(frames)
    assert any(live)
    assert decisions(replayed(frames, tmp_path)) == live
    assert decisions([frame_of(frame.to_json()) for frame in frames]) == live


WEB = {"id": "web", "role": "production"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"containers": [WEB | {"role": "Production"}]}, "'Production'"),
        ({"containers": [WEB | {"indicator": {"name": "p99", "unit": "ms", "better": "up"}}]}, "'up'"),
        ({"containers": [WEB | {"cpu": [0.5]}]}, "float"),
        ({"containers": [WEB | {"cpu": 10**400}]}, "out of range"),
        ({"containers": [5]}, "containers"),
        ({"containers": {}}, "containers"),
        ({"t": 10**400}, "out of range"),
        ({"node": [4.0]}, "node"),
        ({"readings": ["psi_cpu"]}, "readings"),
    ],
)
def test_what_is_no_frame_is_told(wrong, says):
    with pytest.raises(ValueError, match=f"no frame: .*{says}"):
        frame_of({"t": 1.0, "containers": [WEB]} | wrong)


def test_a_line_is_the_same_frame_in_a_trace_and_from_an_estimator(tmp_path):
    told = {"name": "p99"}  # Lower is better where it does not say.
    line = {"t": 1, "containers": [WEB | {"indicator": told, "cpu": 1, "sli": None}, WEB | {"id": "other"}], "more": 1}
    file = tmp_path / "x.jsonl"
    file.write_text(f'{{"trace": 1}}\n{json.dumps(line)}\n')
    (traced,) = read_trace(file)
    sent = frame_of(line)
    assert sent.containers == traced.containers and sent.containers[0].indicator == Indicator("p99", "", "lower")
    assert (sent.t, sent.readings) == (traced.t, traced.readings)
    np.testing.assert_array_equal(
        dataclasses.astuple(sent.node), dataclasses.astuple(traced.node)
    )  # Not ==: what is not known is NaN.
    for name in COLUMNS:
        np.testing.assert_array_equal(sent.column(name), traced.column(name))


@pytest.mark.parametrize("keeps", [True, False])
def test_pressure_is_shared_where_no_filter_changes_best_effort(keeps):
    class Passes:
        keeps_best_effort = keeps

        def step(self, frame):
            return frame

    class Looks:
        pressure = None

        def share(self, pressure):
            self.pressure = pressure

    detector, strategy = Looks(), build(STRATEGIES, {"name": "combined"}, "")
    Pipeline([Passes()], [detector], strategy)
    assert detector.pressure is (strategy.pressure if keeps else None)


def test_one_finding_a_container_and_the_first_detector_speaks(made, tmp_path):
    file = tmp_path / "two.toml"
    file.write_text(DROP + "threshold = 0.2\n" + DROP + "threshold = 0.3\n" + STRATEGY)
    pipeline = Pipeline.load(file)
    for t in range(24):
        sli = 500.0 if t >= 20 else 1000.0
        findings = pipeline.step(made.frame(float(t), made.production("web", sli=sli), made.best_effort("b", cpu=1.0)))
    assert [each.contention.parameters["threshold"] for each in findings] == [0.2]


def test_relearning_reaches_the_detectors(made, tmp_path):
    file = tmp_path / "drop.toml"
    file.write_text(DROP + STRATEGY)
    pipeline = Pipeline.load(file)

    def step(t, sli):
        return pipeline.step(made.frame(float(t), made.production("web", sli=sli), made.best_effort("b", cpu=1.0)))

    for t in range(40):
        step(t, 1000.0)
    step(40, 500.0)
    assert step(41, 500.0)
    pipeline.relearn("web")
    assert not any(step(t, 500.0) for t in range(42, 80))


def test_an_objective_that_is_missed_is_enough_and_one_that_is_missed_anyway_is_let_be(made):
    """Errors that there mostly are none of: they have no logarithm, and no baseline."""
    pipeline, errors = Pipeline.load(), Indicator("errors", "1/s", "lower", objective=5.0)

    def step(t, sli):
        web = made.production("web", indicator=errors, sli=sli, cpu=1.0)
        return [
            each.contention.cause for each in pipeline.step(made.frame(float(t), web, made.best_effort("b", cpu=1.0)))
        ]

    assert not any(step(t, 0.0) for t in range(60))
    assert [step(60 + t, 500.0) for t in range(3)] == [[], ["slo"], ["slo"]]
    pipeline.relearn("web")  # It was not best-effort's doing.
    assert not any(step(63 + t, 500.0 * (t % 4 > 0)) for t in range(60))
    assert not any(step(123 + t, 0.0) for t in range(3))
    assert [step(126 + t, 500.0) for t in range(2)] == [[], ["slo"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (DROP + "treshold = 0.2\n" + STRATEGY, ["[[qos.detectors]] number 1 (drop)", "'treshold'", "threshold"]),
        (DROP + 'threshold = "big"\n' + STRATEGY, ["threshold", "'big'", "a number such as 0.25"]),
        (DROP + "votes = 2.5\n" + STRATEGY, ["votes", "a whole number such as 2"]),
        (DROP + "window = 99999999999\n" + STRATEGY, ["window = 99999999999", "10000 samples", "such as 3"]),
        (DROP + "threshold = nan\n" + STRATEGY, ["threshold = nan", "not finite; write a number such as 0.25"]),
        ('[[qos.filters]]\nname = "ema"\ncolumns = "cpu"\n' + DROP + STRATEGY, ["columns", 'such as ["cpu"]']),
        (DROP + "votes = 9\n" + STRATEGY, ["votes = 9", "window = 3"]),
        ('[[qos.detectors]]\nname = "drip"\n' + STRATEGY, ["'drip'", "drop, interference"]),
        ("[[qos.detectors]]\nthreshold = 0.2\n" + STRATEGY, ["has no name", "drop, interference"]),
        ('[qos.detectors]\nname = "drop"\n' + STRATEGY, ["[[qos.detectors]]", "double brackets"]),
        (
            '[[qos.filters]]\nname = "blur"\n' + DROP + STRATEGY,
            ["[[qos.filters]] number 1", "'blur'", "ignore_new_executors"],
        ),
        (
            EMA % "cpuu" + DROP + STRATEGY,
            ["number 1 (ema): columns", "'cpuu'", "cpu, cycles", "the filter that derives it"],
        ),
        (EMA % "cpi" + DERIVED + DROP + STRATEGY, ["number 1 (ema): columns", "'cpi'"]),
        (DROP + 'signal = "cpu_granted"\n' + STRATEGY, ["number 1 (drop): signal", "'cpu_granted'"]),
        (DROP, ["no strategy", '[qos.strategy] with name = "combined"']),
        (STRATEGY, ["no detectors", '[[qos.detectors]] with name = "interference"']),
        ('[[qos.filters]]\nname = "pr_executor_pass"\n' + DROP + STRATEGY, ["number 1", "'pr_executor_pass'"]),
        (
            '[[qos.filters]]\nname = "cumulative"\ncolumns = ["cpu", "cpu"]\n' + DROP + STRATEGY,
            ["columns", "'cpu' twice"],
        ),
        (DROP + "lag_s = -1\n" + STRATEGY, ["lag_s = -1.0", "at least 0"]),
        (DROP + '[qos.strategy]\nname = "combined"\nhistory = -1\n', ["history = -1.0", "at least 0"]),
        ("x = " + "[" * 3000, ["brackets"]),
        ("x = " + "9" * 5000, ["digits"]),
        (DROP + STRATEGY + "[qos.ladder]\n", ["'ladder'", "filters, detectors and strategy"]),
        ("[quos]\n", ["[quos]", "[qos] and [slack]"]),
        ("qos = 3\n", ["[qos]"]),
        ("[qos\n", ["line 1"]),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_key_and_remedy(tmp_path, text, says):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(PipelineError) as caught:
        Pipeline.load(file)
    assert str(file) in str(caught.value)
    for words in says:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [DERIVED + EMA % "cpi" + DROP, '[[qos.filters]]\nname = "cpu_granted"\n' + DROP + 'signal = "cpu_granted"\n'],
)
def test_what_a_filter_derives_is_there_for_those_after_it(tmp_path, made, text):
    file = tmp_path / "mine.toml"
    file.write_text(text + STRATEGY)
    assert Pipeline.load(file).step(made.frame(0.0, made.production("web", cpu=1.0))) == []


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PipelineError, match=r"nowhere\.toml"):
        Pipeline.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("kinds", [FILTERS, DETECTORS, STRATEGIES])
def test_every_stage_says_what_it_does_and_has_few_parameters(kinds):
    for name, kind in kinds.items():
        assert kind.build.__doc__, name
        fields = dataclasses.fields(kind.parameters)
        assert len(fields) <= 6, name
        assert all(field.metadata["meaning"] for field in fields), name


@pytest.mark.parametrize("kinds", [FILTERS, DETECTORS, STRATEGIES, PREDICTORS])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**12, 10**30])
def test_no_stage_is_made_of_a_number_that_it_cannot_reckon_with(kinds, value):
    for name, kind in kinds.items():
        for key, of in typing.get_type_hints(kind.parameters).items():
            if of is type(value):
                with pytest.raises(PipelineError, match=re.escape(f"{name}): {key} = {value}: it is")):
                    build(kinds, {"name": name, key: value}, "a file")


QUICK = {"cpi_outlier": {"min_samples": 3, "outliers": 2}, "pressure": {"column": "psi_io"}}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_says_the_same_whoever_else_comes_goes_and_is_not_measured(made, name):
    alone, among = (DETECTORS[name].build(DETECTORS[name].parameters(**QUICK.get(name, {}))) for _ in range(2))
    told = Indicator("p99", "ms", "lower", objective=60.0)
    luck, fired = np.random.default_rng(6), 0
    for t in range(0, 1200, 2):
        bad = t >= 900
        columns = {
            "cpu": 1.9 if bad else 1.0,
            "cycles": 6e9 if bad and name == "cpi_outlier" else 3e9,
            "instructions": 3e9,
            "run_delay": 0.9 if bad else 0.02,
            "psi_io": 0.5 if bad else 0.01,
            "sli": 100.0 if bad else 50.0,
        }
        columns = {each: value * luck.lognormal(0.0, 0.02) for each, value in columns.items()}
        web, burn = made.production("web", told, **columns), made.best_effort("b", cpu=1.5 if bad else 0.05)
        silent = [made.production(f"p{i}", told, **dict.fromkeys(COLUMNS, math.nan)) for i in range(t // 2 % 4)]
        node = Node(cpus=3.0)
        said = [
            detector.step(made.frame(float(t), *rows, node=node))
            for detector, rows in ((alone, [web, burn]), (among, [*silent[:2], burn, *silent[2:], web]))
        ]
        assert said[0] == said[1]
        fired += len(said[0])
    assert fired > 10

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from serenity.estimator.predictors import PREDICTORS
from serenity.estimator.predictors.peak import Peak, PeakParameters
from serenity.estimator.predictors.prediction import Peaks, Prediction
from serenity.estimator.predictors.sliding import SlidingMax
from serenity.estimator.slack.formula import Limits, slack
from serenity.estimator.slack.pipeline import SlackPipeline, SlackStages
from serenity.qos import pipeline
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Node
from serenity.qos.stages import PipelineError

GIB = 1 << 30
NAN = math.nan
MEASURED = {"agent_age_s": 0.5}


def row(name, cpus=1.0, mem_gib=1.0, role=PRODUCTION, **columns):
    return Container(name, role, name, cpus, mem_gib * GIB), columns


def frame(*rows, t=0.0, cpus=8.0, mem_gib=16.0, readings=MEASURED):
    return Frame(
        t,
        tuple(container for container, _ in rows),
        {
            name: np.array([columns.get(name, NAN) for _, columns in rows])
            for name in ("cpu", "rss_bytes", "cache_bytes")
        },
        Node(cpus=cpus, mem_bytes=mem_gib * GIB),
        readings,
    )


def of(*predicted, other_mem_bytes=NAN, limits=Limits(), **more):  # noqa: B008
    """Slack of rows (allocated cpus, predicted cpus), with memory alike in GiB."""
    rows = [row(str(i), cpus=allocated, mem_gib=allocated) for i, (allocated, _) in enumerate(predicted)]
    use = np.array([used for _, used in predicted], dtype=float)
    return slack(frame(*rows, **more), Prediction(Peaks.apart(use), Peaks.apart(use * GIB)), other_mem_bytes, limits)


# --- the formula, by hand ---


def test_what_is_allocated_and_not_used():
    found = of((4.0, 1.0), (2.0, 0.5))
    assert (found.cpus, found.mem_bytes, found.fresh, found.why) == (4.5, 4.5 * GIB, True, ())


def test_production_that_bursts_beyond_its_allocation_takes_from_the_others_slack():
    assert of((4.0, 1.0), (1.0, 2.5)).cpus == 1.5


def test_never_less_than_nothing():
    found = of((1.0, 3.0))
    assert (found.cpus, found.mem_bytes) == (0.0, 0.0)


def test_the_nodes_capacity_bounds_it():
    # 8 * 0.9 - 1 is less than the 7 that are not used.
    found = of((8.0, 1.0))
    assert found.cpus == pytest.approx(6.2)
    assert any("cpus is bounded" in each for each in found.why)


def test_a_container_without_a_prediction_counts_at_its_allocation():
    found = of((4.0, NAN), (2.0, 0.5))
    assert found.cpus == 1.5
    assert any("1 of 2" in each for each in found.why)


def test_what_the_machine_has_left_bounds_memory():
    readings = {**MEASURED, "mem_total_bytes": 10.0 * GIB}
    assert of((4.0, 0.0), other_mem_bytes=7.0 * GIB, readings=readings).mem_bytes == pytest.approx(2.0 * GIB)
    assert of((4.0, 0.0), other_mem_bytes=20.0 * GIB, readings=readings).mem_bytes == 0.0
    assert of((4.0, 0.0), other_mem_bytes=1.0 * GIB, readings=readings).mem_bytes == 4.0 * GIB


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"readings": {}}, "not said yet"),
        ({"readings": {"agent_age_s": 60.0}}, "60 s old"),
        ({"cpus": NAN}, "capacity is not known"),
        ({"mem_gib": 0.0}, "mem: the node's capacity is not known"),
    ],
)
def test_without_current_data_there_is_no_new_slack(more, says):
    found = of((4.0, 1.0), **more)
    assert not found.fresh
    assert any(says in each for each in found.why)


@pytest.mark.parametrize("predicted", [math.inf, -math.inf])
def test_a_prediction_that_is_no_number_is_no_new_slack_and_no_reason_to_take_any(predicted):
    found = of((4.0, 1.0), (2.0, predicted))
    assert not found.fresh and (found.cpus, found.mem_bytes) == (0.0, 0.0)
    assert {each.partition(":")[0] for each in found.why if "is no number" in each} == {"cpus", "mem"}


def test_no_production_no_slack():
    assert of().cpus == 0.0


# --- the predictor, by hand ---


def peaks(predictor, *samples):
    """Predicted cpus of one container of 2 cpus after each (t, cpu)."""
    return [predictor.step(frame(row("a", cpus=2.0, cpu=cpu), t=t)).cpus.rows[0] for t, cpu in samples]


def test_the_peak_of_the_window_with_a_margin_of_the_allocation():
    predictor = Peak(PeakParameters(window_s=10.0, margin=0.1, min_age_s=0.0))
    samples = [(0.0, 1.0), (4.0, 1.5), (8.0, 0.5), (14.0, 0.25), (15.0, 0.25), (20.0, 0.125)]
    assert peaks(predictor, *samples) == pytest.approx([1.2, 1.7, 1.7, 1.7, 0.7, 0.45])


def test_a_container_too_new_or_not_measured_of_late_has_no_prediction():
    predictor = Peak(PeakParameters(min_age_s=5.0, stale_s=3.0, margin=0.0))
    found = peaks(predictor, (0.0, NAN), (1.0, 1.0), (5.0, 1.0), (6.0, 1.0), (9.0, NAN), (9.5, NAN), (10.0, 1.0))
    assert found == pytest.approx([NAN, NAN, NAN, 1.0, 1.0, NAN, 1.0], nan_ok=True)


def test_the_greatest_of_a_sliding_window_agrees_with_looking_at_all_of_it():
    generator, window, seen = np.random.default_rng(3), SlidingMax(7.0), []
    for t in range(300):
        seen.append((float(t), float(generator.normal())))
        assert window.add(*seen[-1]) == max(value for at, value in seen if at >= t - 7.0)


# --- the pipeline ---


def stages(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return SlackStages.from_file(pipeline.read(file))


QUICK = "[slack.predictor]\nname='peak'\nmin_age_s=2.0\nmargin=0.0\n[slack.report]\nrise_s=3.0\n"


def test_fast_down_and_slow_up(tmp_path):
    made = SlackPipeline(stages(tmp_path, QUICK + "[slack.limits]\ncpus=1.0\n"))
    cpu = [1.0] * 8 + [3.0] * 2
    found = [
        made.step(frame(row("a", cpus=4.0, cpu=used, rss_bytes=0.0), t=float(t))).cpus for t, used in enumerate(cpu)
    ]
    # Too new until 2; the rise is told when it has lasted for 3 s; the fall at once.
    assert found == [0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 1.0, 1.0]


def test_best_effort_that_fills_the_slack_changes_nothing():
    def run(best_effort):
        made = SlackPipeline(SlackStages.from_file(pipeline.read()))
        found = []
        for t in range(0, 3600, 60):
            rows = [row("web", cpus=4.0, cpu=1.0, rss_bytes=0.5 * GIB)]
            used = 1.0 * GIB
            if best_effort and t >= 1800:
                # Of its three, one is page cache, which the machine counts as available.
                rows.append(row("be", role=BEST_EFFORT, cpus=3.0, cpu=3.0, rss_bytes=3.0 * GIB, cache_bytes=1.0 * GIB))
                used += 2.0 * GIB
            readings = {**MEASURED, "mem_total_bytes": 4.0 * GIB, "mem_used_bytes": used}
            found.append(made.step(frame(*rows, t=float(t), mem_gib=4.0, readings=readings)))
        return found

    assert run(True) == run(False)
    assert run(False)[-1].cpus > 1.5


def test_a_container_that_a_filter_leaves_out_counts_at_its_allocation(tmp_path):
    filters = "[[slack.filters]]\nname='ignore_new_executors'\nage_s=10.0\n"
    made = SlackPipeline(stages(tmp_path, filters + QUICK + "[slack.limits]\ncpus=1.0\n"))
    old, new = row("a", cpus=4.0, cpu=1.0, rss_bytes=0.0), row("b", cpus=3.0, cpu=0.5, rss_bytes=0.0)
    found = [made.step(frame(old, *([new] if t >= 20 else []), t=float(t))) for t in range(40)]
    assert [found[t].cpus for t in (9, 19, 20, 29, 39)] == [0.0, 3.0, 3.0, 3.0, 5.5]
    assert any("1 of 2" in each for each in found[25].why)


# --- what is certain: nobody loses a task because something could not be known ---


def whole_node(t, *more, **web):
    """A node that is all allocated: production of 3 cpus and GiB that uses 1, of 4, and what else there is."""
    web = {"cpu": 1.0, "rss_bytes": 1.0 * GIB, **web}
    return frame(row("web", cpus=3.0, mem_gib=3.0, **web), *more, t=t, cpus=4.0, mem_gib=4.0)


def at_most(found):
    return found.at_most_cpus, found.at_most_mem_bytes / GIB


def test_what_cannot_be_measured_for_a_while_gives_no_slack_and_takes_none_away_from_who_holds_it():
    made = SlackPipeline(SlackStages.from_file(pipeline.read()))
    known = [made.step(whole_node(float(t))) for t in range(600)][-1]
    assert at_most(known) == pytest.approx((known.cpus, known.mem_bytes / GIB), abs=0.01) and known.cpus > 0.4
    blind = [made.step(whole_node(600.0 + t, cpu=NAN, rss_bytes=NAN)) for t in range(30)]
    assert (blind[-1].cpus, blind[-1].mem_bytes) == (0.0, 0.0)
    assert all(at_most(each) >= at_most(known) for each in blind)


@pytest.mark.parametrize("state_is_there", [True, False])
def test_an_estimator_that_starts_anew_takes_nothing_away(state_is_there):
    before, after = (SlackPipeline(SlackStages.from_file(pipeline.read())) for _ in range(2))
    known = [before.step(whole_node(float(t))) for t in range(600)][-1]
    if state_is_there:
        after.restore(before.state())
    found = [after.step(whole_node(610.0 + t)) for t in range(30)]
    assert all(at_most(each) >= at_most(known) for each in found)
    # With what was learnt it is the same slack, at once.
    assert [each.cpus == pytest.approx(known.cpus, abs=0.05) for each in found] == [state_is_there] * 30


def test_a_new_container_is_given_room_for_all_that_it_was_allocated():
    made = SlackPipeline(SlackStages.from_file(pipeline.read()))
    alone = [made.step(whole_node(float(t))) for t in range(600)][-1]
    new = row("new", cpus=1.0, mem_gib=1.0, cpu=0.1, rss_bytes=0.1 * GIB)
    joined = [made.step(whole_node(600.0 + t, new)) for t in range(200)]
    assert at_most(joined[-1]) == pytest.approx((joined[-1].cpus, joined[-1].mem_bytes / GIB), abs=0.01)
    # Memory may be filled to nine tenths of the four: 0.4 less than before, with the new one's all.
    assert at_most(joined[0])[1] == pytest.approx(at_most(alone)[1] - 0.4, abs=0.02)
    # Known once, it is not new again.
    later = [made.step(whole_node(800.0 + t, new)) for t in range(200)][-1]
    unseen = row("new", cpus=1.0, mem_gib=1.0)
    assert at_most([made.step(whole_node(1000.0 + t, unseen)) for t in range(20)][-1]) >= at_most(later)


def test_a_valve_that_closes_for_a_moment_costs_neither_tasks_nor_what_was_learnt(tmp_path):
    text = "[[slack.filters]]\nname='valve'\n" + QUICK.replace("min_age_s=2.0", "min_age_s=300.0")
    made = SlackPipeline(stages(tmp_path, text))

    def step(t, closed):
        made_frame = whole_node(float(t))
        readings = {**made_frame.readings, "valve_closed": closed}
        return made.step(replace(made_frame, readings=readings))

    known = [step(t, 0.0) for t in range(600)][-1]
    closed = [step(t, 1.0) for t in range(600, 603)][-1]
    assert (closed.cpus, closed.mem_bytes) == (0.0, 0.0) and at_most(closed) >= at_most(known) > (0.5, 0.5)
    assert [step(t, 0.0) for t in range(603, 610)][-1].cpus == known.cpus


# --- readings that make no sense ---


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[("cpu", each) for each in (8.0, 1e6, 1e300, -50.0, math.inf, -math.inf)],
        *[("rss_bytes", each) for each in (1e18, 1e300, -1.0, math.inf, -math.inf)],
    ],
)
def test_a_reading_that_makes_no_sense_is_as_good_as_none_and_is_said(tmp_path, name, column, value):
    """On a node of four cores and 4 GiB; eight is twice that."""

    def run(nonsense):
        made = SlackPipeline(stages(tmp_path, f"[slack.predictor]\nname = '{name}'\n"))
        found = [made.step(whole_node(t * 60.0, **({column: nonsense} if t == 45 else {}))) for t in range(60)]
        return [replace(each, why=()) for each in found], [each.why for each in found]

    (with_it, said), (without, _) = run(value), run(NAN)
    assert with_it == without and with_it[-1].cpus > 0 and with_it[-1].mem_bytes > 0 and with_it[45].fresh
    assert [t for t, why in enumerate(said) if "readings that make no sense count as not measured: 1" in why] == [45]


def test_a_clock_that_was_read_late_makes_no_nonsense():
    """A little more than the node has is all of it."""
    made = SlackPipeline(SlackStages.from_file(pipeline.read()))
    found = [made.step(whole_node(float(t), cpu=4.8 if t == 350 else 1.0)) for t in range(360)]
    assert not any("no sense" in each for each in found[350].why)
    assert found[350].predicted_cpus > found[349].predicted_cpus + 0.1


@pytest.mark.parametrize(("value", "refused"), [(1e6, False), (1e300, False), (-1.0, True), (math.inf, True)])
def test_where_it_is_not_known_what_a_node_has_nothing_is_too_much(value, refused):
    made = SlackPipeline(SlackStages.from_file(pipeline.read()))
    with warnings.catch_warnings(action="error"):  # numpy's.
        found = [made.step(frame(row("a", cpu=value, rss_bytes=0.0), t=float(t), cpus=NAN)) for t in range(400)]
    assert any("no sense" in each for each in found[-1].why) == refused and not found[-1].fresh


def test_an_agent_keeps_some_of_the_machines_memory_to_itself():
    """A container has 3 GiB where the agent has one to offer, of a machine's four."""
    made = SlackPipeline(SlackStages.from_file(pipeline.read()))
    web = row("web", cpu=0.5, rss_bytes=3.0 * GIB)
    assert any("no sense" in each for each in made.step(frame(web, mem_gib=1.0)).why)
    readings = {**MEASURED, "mem_total_bytes": 4.0 * GIB, "mem_used_bytes": 3.5 * GIB}
    assert not any("no sense" in each for each in made.step(frame(web, mem_gib=1.0, readings=readings)).why)


def test_best_effort_that_is_said_to_use_more_than_there_is_makes_no_room(tmp_path):
    """What it has is taken off what the machine uses."""
    made = SlackPipeline(stages(tmp_path, QUICK))
    measured = [made.step(machine(3.0, row("be", role=BEST_EFFORT, rss_bytes=GIB), t=float(t))) for t in range(20)]
    lying = [made.step(machine(3.0, row("be", role=BEST_EFFORT, rss_bytes=1e18), t=20.0 + t)) for t in range(20)]
    assert {each.mem_bytes for each in lying} == {measured[-1].mem_bytes}
    assert any("no sense" in each for each in lying[-1].why)


@pytest.mark.parametrize("used_gib", [-1.0, 5.0, math.inf])
def test_a_machine_that_uses_more_than_it_has_gives_no_new_slack(tmp_path, used_gib):
    made = SlackPipeline(stages(tmp_path, QUICK))
    before = [made.step(machine(3.0, t=float(t))) for t in range(20)][-1]
    odd = made.step(machine(used_gib, t=20.0))
    assert before.fresh and not odd.fresh and any("no sense" in each for each in odd.why)
    assert [made.step(machine(3.0, t=21.0 + t)) for t in range(9)][-1] == before


# --- the machine's memory ---


def machine(used_gib, *rows, t=0.0, **readings):
    readings = {**MEASURED, "mem_total_bytes": 4.0 * GIB, "mem_used_bytes": used_gib * GIB, **readings}
    web = row("web", cpus=3.0, mem_gib=3.0, cpu=1.0, rss_bytes=1.0 * GIB)
    return frame(web, *rows, t=t, mem_gib=16.0, readings={k: v for k, v in readings.items() if v is not None})


def test_memory_of_the_machine_that_cannot_be_read_any_more_gives_no_new_slack(tmp_path):
    made = SlackPipeline(stages(tmp_path, QUICK))
    found = [made.step(machine(3.0, t=float(t))) for t in range(20)][-1]
    assert found.fresh and found.mem_bytes == pytest.approx(0.6 * GIB)
    lost = [made.step(machine(3.0, t=20.0 + t, mem_used_bytes=None)) for t in range(12)]
    assert not any(each.fresh for each in lost)
    assert "the machine's memory cannot be read" in lost[-1].why
    assert [made.step(machine(3.0, t=40.0 + t)) for t in range(9)][-1] == found


def test_a_best_effort_task_that_cannot_be_read_for_a_while_is_not_taken_for_others_memory(tmp_path):
    made = SlackPipeline(stages(tmp_path, QUICK))

    def step(t, rss_bytes):
        return made.step(machine(3.0, row("be", role=BEST_EFFORT, rss_bytes=rss_bytes), t=float(t))).mem_bytes

    measured = [step(t, 1.0 * GIB) for t in range(20)][-1]
    assert measured == pytest.approx(1.6 * GIB)
    assert {step(t, NAN) for t in range(20, 40)} == {measured}


@pytest.mark.parametrize("by_s", [-5000.0, 5000.0])
def test_a_clock_that_jumps_is_outlived(by_s):
    """Back: time goes on from where it was.  Forth: nothing was measured meanwhile, and what was learnt counts less."""
    made = SlackPipeline(SlackStages.from_file(pipeline.read()))

    def after(times):
        return [
            made.step(frame(row("a", cpus=4.0, cpu=1.0 + 0.1 * (t % 2), rss_bytes=1e8), t=10_000.0 + t)).cpus
            for t in times
        ]

    before = after(range(0, 2000, 10))[-1]
    later = after(by_s + t for t in range(2000, 2600, 10))
    assert before > 1.0 and all(each == pytest.approx(before, rel=0.3) for each in later)


def test_a_replay_cut_short_gives_the_same_estimates():
    generator = np.random.default_rng(5)

    def production(t):
        names = [name for name in "abcde" if generator.random() > 0.005]
        return [row(name, cpus=2.0, cpu=float(generator.random()), rss_bytes=1e6) for name in names]

    frames = [frame(*production(t), t=10.0 * t, cpus=16.0) for t in range(200)]

    def run(given):
        made = SlackPipeline(SlackStages.from_file(pipeline.read()))
        return [made.step(each) for each in given]

    whole = run(frames)
    assert run(frames[:90]) == whole[:90]
    assert any(each.cpus > 0 for each in whole)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[slack]\nmargin = 0.1\n", ["'margin'", "filters, predictor, limits and report"]),
        ("[slack.predictor]\nname = 'oracle'\n", ["'oracle'", "one of ahead, ema, histogram, last, n_sigma, peak"]),
        ("[slack.predictor]\nname = 'peak'\nmargin = 7\n", ["[slack.predictor] (peak)", "margin = 7"]),
        ("[slack.limits]\ncpus = 'all'\n", ["[slack.limits]", "cpus", "a number such as 0.9"]),
        ("[slack.report]\nrise_s = -1\n", ["[slack.report]", "rise_s"]),
        ("[[slack.filters]]\nname = 'blur'\n", ["[[slack.filters]] number 1", "'blur'"]),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_key_and_remedy(tmp_path, text, says):
    with pytest.raises(PipelineError) as caught:
        stages(tmp_path, text)
    for words in [str(tmp_path / "mine.toml"), *says]:
        assert words in str(caught.value)

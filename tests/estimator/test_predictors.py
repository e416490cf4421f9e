"""Each predictor by hand, and what all of them must do."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest

from serenity.estimator.predictors import PREDICTORS
from serenity.estimator.predictors.ahead import Ahead, AheadParameters
from serenity.estimator.predictors.diurnal import Diurnal
from serenity.estimator.predictors.ema import Ema, EmaParameters
from serenity.estimator.predictors.histogram import Histogram, HistogramParameters
from serenity.estimator.predictors.last import Last, LastParameters
from serenity.estimator.predictors.n_sigma import NSigma, NSigmaParameters
from serenity.estimator.predictors.promises import Promises
from serenity.qos.frame import PRODUCTION, Container, Frame, Node

GIB = 1 << 30
NAN = math.nan


def row(name, cpus=2.0):
    return Container(name, PRODUCTION, name, cpus, cpus * GIB)


def frame(t, cpu, rows=None, node_cpus=8.0):
    """Memory as cpu, in GiB."""
    cpu = np.array(cpu, dtype=float)
    rows = rows or tuple(row(str(i)) for i in range(len(cpu)))
    return Frame(float(t), rows, {"cpu": cpu, "rss_bytes": cpu * GIB}, Node(cpus=node_cpus, mem_bytes=node_cpus * GIB))


def fed(predictor, samples, every_s=1.0, **more):
    """Its predictions of cpus: of each row at the end, and of all together."""
    for i, cpu in enumerate(samples):
        said = predictor.step(frame(i * every_s, np.atleast_1d(cpu), **more))
    return said.cpus.rows, said.cpus.together


def ready(name, **more):
    """A predictor that needs no age."""
    kind = PREDICTORS[name]
    has_age = "min_age_s" in kind.parameters.__dataclass_fields__
    return kind.build(kind.parameters(**({"min_age_s": 0.0} if has_age else {}), **more))


# --- values by hand ---


def test_last():
    rows, together = fed(Last(LastParameters(margin=0.25)), [[0.5, 1.0], [1.0, 0.25]])
    assert rows == pytest.approx([1.5, 0.75]) and together == pytest.approx(2.25)


def test_ema():
    made = Ema(EmaParameters(time_constant_s=1.0 / math.log(2.0), margin=0.0, min_age_s=0.0))
    # A second weighs a half: 1, (1 + 3) / 2, (2 + 1) / 2.
    assert fed(made, [1.0, 3.0, 1.0])[0] == pytest.approx([1.5])
    # After a pause of two seconds three quarters: 1.5 + 0.75 * 2.
    assert made.step(frame(4.0, [3.5])).cpus.rows == pytest.approx([3.0])


def test_n_sigma_of_each_and_of_all_together():
    """As long as the past is short, mean and variance are the plain ones; two that alternate add up to no variance."""
    parameters = NSigmaParameters(sigmas=2.0, time_constant_s=1e9, min_age_s=0.0)
    rows, together = fed(NSigma(parameters), [[1.0, 2.0], [2.0, 1.0]] * 4)
    assert rows == pytest.approx([1.5 + 2 * 0.5] * 2)
    assert together == pytest.approx(3.0)
    _, alike = fed(NSigma(parameters), [[1.0, 1.0], [2.0, 2.0]] * 40)
    assert alike == pytest.approx(2 * (1.5 + 2 * 0.5), rel=0.05)


def test_histogram_is_the_upper_end_of_the_percentiles_bucket():
    made = Histogram(HistogramParameters(percentile=75.0, margin=0.1, min_age_s=0.0, cpu_half_life_s=1e9))
    (peak,), _ = fed(made, [1.6, 0.2, 0.2, 0.2])
    assert 0.2 + 0.2 <= peak <= 0.2 * 1.1 + 0.2
    (peak,), _ = fed(ready("histogram", percentile=76.0, margin=0.0, cpu_half_life_s=1e9), [1.6, 0.2, 0.2, 0.2])
    assert 1.6 <= peak <= 1.6 * 1.1


def test_histogram_of_what_bursts_beyond_its_buckets_is_what_it_uses_now():
    """Twenty times its allocation for an hour."""
    rows = (row("a", cpus=0.1),)
    (peak,), together = fed(Histogram(HistogramParameters()), [2.0] * 60, every_s=60.0, rows=rows)
    assert peak == together == 2.0


def test_histogram_forgets_by_half_lives():
    """Ten samples of long ago weigh 10 / 16 after four half-lives, less than the two of now."""
    made = ready("histogram", percentile=60.0, margin=0.0, cpu_half_life_s=100.0)
    for t in range(10):
        made.step(frame(t * 1e-3, [1.6]))
    made.step(frame(400.0, [0.2]))
    assert made.step(frame(400.001, [0.2])).cpus.rows[0] < 0.25


def test_ahead_of_a_new_container_is_the_bound_that_its_mean_allows():
    """One sample of 0.5 of 2 cores: all that is known is that it uses all of it for a quarter of the time."""
    made = Ahead(AheadParameters(min_age_s=0.0, risk=0.05))
    rows = tuple(row(str(i)) for i in range(40))
    said = made.step(frame(0, [0.5] * 40, rows, node_cpus=80.0)).cpus
    tilts = np.linspace(0.01, 10, 2000)
    bounds = [
        ((40 * np.log(1 + 0.25 * np.expm1(2 * tilts)) - math.log(risk)) / tilts).min() - grave
        for risk, grave in ((0.05, 0.0), (0.01, 0.8))
    ]
    # 2.7 % of a margin is what it costs at most that there are only 13 tilts.
    assert 20 + (max(bounds) - 20) * 0.999 <= said.together <= 20 + (max(bounds) - 20) * 1.03
    assert said.rows == pytest.approx([2.0] * 40), "one alone may use all that it has"


def test_ahead_learns_what_a_container_does():
    made = ready("ahead")
    steady, together = fed(made, [[0.5, 0.5]] * 60, every_s=300.0, node_cpus=4.0)
    assert (steady < 1.1).all() and 1.0 <= together < 1.6
    restless, more = fed(ready("ahead"), [[0.5, 0.0], [0.5, 1.0]] * 30, every_s=300.0, node_cpus=4.0)
    assert restless[1] > 1.0 > restless[0] - 0.3 and more > together + 0.3


def test_ahead_knows_when_containers_peak_together():
    """Sixteen that are busy by turns, and sixteen that are busy at once."""
    turns = np.array([[float((i + t) % 16 == 0) for i in range(16)] for t in range(160)])
    at_once = np.array([[float(t % 16 == 0)] * 16 for t in range(160)])
    rows = tuple(row(str(i), cpus=1.0) for i in range(16))
    _, apart = fed(ready("ahead"), turns, every_s=300.0, rows=rows, node_cpus=16.0)
    _, joint = fed(ready("ahead"), at_once, every_s=300.0, rows=rows, node_cpus=16.0)
    assert apart < 8.0 and joint > 12.0


def test_ahead_is_more_careful_after_predictions_that_did_not_hold():
    calm, rude = ready("ahead"), ready("ahead")
    rows = tuple(row(str(i), cpus=1.0) for i in range(8))
    for t in range(400):
        made = [0.1 + 0.05 * ((t + i) % 2) for i in range(8)]
        calm.step(frame(t * 300, made, rows))
        rude.step(frame(t * 300, [0.9] * 8 if t % 100 == 99 and t < 300 else made, rows))
    after = [each.step(frame(400 * 300, [0.1] * 8, rows)).cpus.together for each in (calm, rude)]
    assert after[1] > after[0] + 0.5


def failed(use):
    """The share of half hours in which `ahead` said less than came, the first four hours left out; and what it said too
    much on average, in shares of the node.  `use`: of shape (five minutes, containers), each of one core."""
    cores = use.shape[1]
    rows = tuple(row(str(i), cpus=1.0) for i in range(cores))
    made = Ahead(AheadParameters())
    said = [made.step(frame(t * 300, use[t], rows, node_cpus=cores)).cpus.together for t in range(len(use))]
    sums = use.sum(axis=1)
    over = [said[t] - sums[t + 1 : t + 7].max() for t in range(48, len(use) - 6)]
    return np.less(over, 0.0).mean(), np.mean(over) / cores


def test_ahead_holds_as_often_as_it_says():
    """Containers that burst by themselves, ten days of five minutes: 0.5 % may fail in the long run."""
    luck = np.random.default_rng(7)
    share, too_much = failed(np.where(luck.random((2880, 24)) < 0.1, luck.random((2880, 24)), 0.05))
    assert share <= 0.0075 and too_much < 0.15


def test_ahead_learns_how_far_it_is_wrong_to_take_containers_for_independent():
    """Once an hour all of them rise by half: at most one failure in 200, where two came while that was not learnt."""
    shares = []
    for seed in (1, 2, 3):
        luck = np.random.default_rng(seed)
        hourly = 1.0 + 0.5 * (np.arange(1440) % 12 == 0)[:, None]
        shares.append(failed(np.minimum(1.0, 0.15 * hourly * luck.gamma(3.0, 1 / 3, (1440, 32))))[0])
    assert np.mean(shares) <= 0.005


def test_ahead_keeps_little_more_for_what_all_of_them_do_every_hour_than_it_takes():
    """A fifth of the node, five minutes an hour: a tenth of the node has to be kept in vain, for half of the moments
    are followed by half an hour without it."""
    luck = np.random.default_rng(1)
    busy = np.where(np.arange(288) % 12 == 0, 0.35, 0.15)[:, None]
    share, too_much = failed(busy * luck.gamma(30.0, 1 / 30, (288, 64)))
    assert share <= 0.005 and too_much < 0.2


def test_care_wears_off_only_while_somebody_is_promised_for():
    """A promise is broken for both resources; afterwards only memory is measured."""
    made, both = Promises(60.0, 0.005), np.array([[True], [True]])
    ones, memory = np.ones((2, 1)), np.array([[False], [True]])
    made.see(0.0, ["a"], both, ones, np.ones(2), np.zeros((1, 2)))
    made.make(0.0, np.ones(2), np.ones(2), np.array([True, True]))
    made.see(60.0, ["a"], both, ones, np.full(2, 1.5), np.zeros((1, 2)))
    cpus, mem = made.care
    made.make(60.0, np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([False, True]))
    made.see(120.0, ["a"], memory, ones * [[0.0], [1.0]], np.array([0.0, 1.0]), np.zeros((1, 2)))
    assert made.care[0] == cpus > 0 and made.care[1] < mem


def test_ahead_takes_a_gap_in_the_data_for_no_rise():
    """As a half hour ends nobody is known: what the sum did in it is no rarer for that."""
    luck = np.random.default_rng(5)
    use = luck.gamma(2.0, 0.2, (160, 8))
    rows = tuple(row(str(i), cpus=1.0) for i in range(8))
    whole, holed = ready("ahead", stale_s=90.0), ready("ahead", stale_s=90.0)
    for t in range(160):
        missing = 118 <= t < 124  # A promise ends every five minutes, of frames of a minute.
        said = whole.step(frame(t * 60, use[t], rows)).cpus.together
        also = holed.step(frame(t * 60, [NAN] * 8 if missing else use[t], rows)).cpus.together
    assert also == pytest.approx(said, rel=0.02)


def test_ahead_learns_nothing_of_what_nobody_measured():
    """Cpus that come after four hours of memory alone find the bound as it was at the beginning."""
    rows = tuple(row(str(i)) for i in range(3))
    late, new = ready("ahead"), ready("ahead")
    for t in range(48):
        late.step(Frame(t * 300.0, rows, {"rss_bytes": np.full(3, 1e9)}, Node(8.0, 1e10)))
    mine, theirs = late.step(frame(48 * 300, [0.5] * 3, rows)), new.step(frame(0, [0.5] * 3, rows))
    assert mine.cpus.together == theirs.cpus.together


# --- all of them ---


@pytest.mark.parametrize("name", PREDICTORS)
def test_without_data_there_is_no_prediction_and_with_it_again_there_is(name):
    made = ready(name, stale_s=3.0)
    found = []
    for t in range(20):
        said = made.step(frame(t, [NAN if 5 <= t < 15 else 1.0, 1.0])).cpus
        found.append(bool(np.isfinite(said.rows[0])))
        assert np.isfinite(said.rows[1]) and math.isfinite(said.together)
    assert found[4:8] == [True] * 4 and not any(found[8:15]) and all(found[15:])


@pytest.mark.parametrize("name", PREDICTORS)
def test_nothing_is_below_what_is_used_and_nothing_knows_the_future(name):
    luck = np.random.default_rng(3)
    use = luck.gamma(2.0, 0.2, (80, 6))
    use[30:, 5] = 20.0 * luck.random(50)  # Up to ten times what it was allocated.
    whole, cut = ready(name), ready(name)
    for t in range(80):
        said = whole.step(frame(t * 60, use[t]))
        if t < 50:
            early = cut.step(frame(t * 60, use[t]))
            assert early.cpus.together == said.cpus.together and np.array_equal(early.cpus.rows, said.cpus.rows)
        if name in ("ahead", "histogram", "last", "peak"):
            assert said.cpus.together >= use[t].sum() - 1e-9 and (said.cpus.rows >= use[t] - 1e-9).all()


@pytest.mark.parametrize("name", PREDICTORS)
def test_state_carries_on_where_it_was(name):
    """All within half an hour: which predictions were under way is not kept."""
    luck = np.random.default_rng(4)
    use = luck.gamma(2.0, 0.2, (60, 5))
    rows = tuple(row(str(i)) for i in range(5))
    made, again = ready(name), ready(name)
    for t in range(40):
        made.step(frame(t * 20, use[t], rows))
    again.restore(json.loads(json.dumps(made.state())))
    for t in range(40, 60):
        mine, theirs = made.step(frame(t * 20, use[t], rows)), again.step(frame(t * 20, use[t], rows))
        assert np.allclose(mine.cpus.rows, theirs.cpus.rows, rtol=1e-6)
        assert mine.mem_bytes.together == pytest.approx(theirs.mem_bytes.together, rel=1e-6)


def test_all_that_ahead_has_learnt_of_the_node_carries_on():
    luck = np.random.default_rng(6)
    made, again = ready("ahead"), ready("ahead")
    for t in range(120):
        made.step(frame(t * 60, luck.gamma(2.0, 0.1, 5) + (1.0 if t == 100 else 0.0)))
    kept = json.loads(json.dumps(made.state()))
    fresh = again.state()
    assert all(kept[key] != fresh[key] for key in ("care", "together", "squared", "horizons"))
    again.restore(kept)
    assert json.loads(json.dumps(again.state())) == kept


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_state_that_lacks_something_is_refused_and_nothing_is_restored(name):
    """As one of an older version may."""
    learnt = ready(name)
    fed(learnt, [[1.0, 0.5]] * 30, every_s=300.0)
    for key in learnt.state():
        made, fresh = ready(name), ready(name)
        with pytest.raises(ValueError):
            made.restore({name: part for name, part in learnt.state().items() if name != key})
        assert fed(made, [1.0, 0.5])[1] == fed(fresh, [1.0, 0.5])[1]


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("state", [{}, {"ids": 7}, {"ids": ["a", "a"]}, {"cpu": {}, "rss_bytes": {"a": 3}}])
def test_what_is_no_state_is_refused_and_nothing_is_restored(name, state):
    made, fresh = ready(name), ready(name)
    with pytest.raises(ValueError):
        made.restore(state)
    assert fed(made, [1.0, 0.5])[1] == fed(fresh, [1.0, 0.5])[1]


@pytest.mark.parametrize("name", [each for each in PREDICTORS if "ids" in ready(each).state()])
def test_a_state_of_no_names_is_refused_and_nothing_is_restored(name):
    learnt, made, fresh = ready(name), ready(name), ready(name)
    fed(learnt, [[1.0, 0.5]] * 30, every_s=300.0)
    state = learnt.state()
    state["ids"] = [[each] for each in state["ids"]]
    with pytest.raises(ValueError):
        made.restore(state)
    assert fed(made, [1.0, 0.5])[1] == fed(fresh, [1.0, 0.5])[1]


def damaged(state, value):
    """The state with one number of each of its parts set to `value`, part by part; and what that part is."""
    for key, part in state.items():
        if isinstance(part, dict) and "values" in part:
            array = np.frombuffer(base64.b64decode(part["values"]), part["type"]).copy()
            with np.errstate(over="ignore"):  # In half of a float.
                array[len(array) // 3] = value
            yield key, {**state, key: {**part, "values": base64.b64encode(array.tobytes()).decode()}}
        elif isinstance(part, dict):
            yield from ((f"{key} {inner}", {**state, key: made}) for inner, made in damaged(part, value))
        elif isinstance(part, list) and isinstance(part[-1], (list, tuple)):  # Steps of a sliding maximum.
            yield key, {**state, key: [*part[:-1], (part[-1][0], value)]}
        elif isinstance(part, float):
            yield key, {**state, key: value}


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf, 1e300, -1e300])
def test_a_state_with_a_number_that_it_never_gets_is_refused_and_nothing_is_restored(name, value):
    learnt = ready(name)
    fed(learnt, [[1.0, 0.5]] * 30, every_s=300.0)
    parts = list(damaged(learnt.state(), value))
    assert len(parts) >= 2
    for key, state in parts:
        if math.isnan(value) and key in ("unit", "diurnal profile"):
            continue  # Not known yet.
        made, fresh = ready(name), ready(name)
        with pytest.raises(ValueError):
            made.restore(state)
        assert fed(made, [1.0, 0.5])[1] == fed(fresh, [1.0, 0.5])[1], key


@pytest.mark.parametrize("name", PREDICTORS)
def test_whatever_it_has_seen_its_state_is_taken(name):
    """Containers come and go, are idle, burst, are not measured, have no allocation; half of it without a capacity."""
    luck = np.random.default_rng(9)
    made, t = ready(name), 0.0
    for step in range(300):
        t += float(luck.choice([0.1, 1.0, 60.0, 3600.0]))
        who = np.flatnonzero(luck.random(8) < 0.8)
        use = luck.choice([0.0, 1e-9, 0.3, 8.0, NAN], len(who)) * luck.random(len(who))
        rows = tuple(row(str(i), cpus=0.0 if i == 3 else 0.5 * i) for i in who)
        with np.errstate(all="ignore"):  # As in the pipeline.
            made.step(frame(t, use, rows, node_cpus=NAN if step < 150 else 8.0))
        again = ready(name)
        again.restore(json.loads(json.dumps(made.state())))
        assert again.state() == made.state()


@pytest.mark.parametrize("name", PREDICTORS)
def test_ten_thousand_containers_come_and_go_without_growth(name):
    made, sizes = ready(name), []
    for t in range(100):
        rows = tuple(row(f"{t * 100 + i}") for i in range(110))  # Ten stay for one frame more.
        made.step(frame(t, [0.5] * 110, rows))
        if t in (10, 99):
            sizes.append(len(json.dumps(made.state())))
    assert sizes[1] <= sizes[0] * 1.1


@pytest.mark.parametrize("name", PREDICTORS)
def test_who_has_gone_leaves_nothing_and_who_comes_back_is_new(name):
    made = ready(name)
    both, one = (row("a"), row("b")), (row("a"),)
    for t in range(30):
        made.step(frame(t, [0.5, 1.5], both))
    made.step(frame(30, [0.5], one))
    alone = made.step(frame(31, [0.5], one)).cpus
    assert len(alone.rows) == 1 and alone.together <= 2.0
    again = made.step(frame(32, [0.5, 0.1], both)).cpus
    new = ready(name).step(frame(0, [0.1], (row("b"),))).cpus
    assert again.rows[1] == pytest.approx(new.rows[0], rel=1e-6)


def test_diurnal_says_what_came_at_this_time_of_the_days_before():
    """A node that goes from 1 to 4 cores at noon, each day: it is known half an hour before on the third day."""
    made = Diurnal(1800.0)
    made.move(np.array([-1, -1]))
    said = {}
    for number in range(3 * 96):
        t = number * 900.0
        busy = 12 * 3600 <= t % 86400 < 18 * 3600
        use = np.array([[3.5, 0.5], [7.0, 1.0]]) if busy else np.array([[0.5, 0.5], [1.0, 1.0]])
        made.learn(t, use, np.ones((2, 2), dtype=bool))
        said[t] = made.rise(np.ones((2, 2), dtype=bool))
    noon, day = 12 * 3600.0, 86400.0
    assert all(each.max() == 0 for t, each in said.items() if t < day + noon)
    assert said[2 * day + noon - 900] == pytest.approx([3.0, 6.0], rel=0.05)
    assert max(each[0] for t, each in said.items() if t > 2 * day and not noon - 1800 <= t % day < noon) < 0.1
    assert made.rise(np.array([[False, True], [True, True]]))[0] == 0.0


def test_diurnal_is_not_believed_where_days_differ():
    luck, made, said = np.random.default_rng(5), Diurnal(1800.0), []
    made.move(np.full(8, -1))
    for number in range(6 * 48):
        made.learn(number * 1800.0, luck.gamma(1.0, 1.0, (2, 8)), np.ones((2, 8), dtype=bool))
        said.append(made.rise(np.ones((2, 8), dtype=bool))[0])
    assert np.mean(said[96:]) < 0.5, "two and more of what it would say unchecked"


def test_who_comes_breaks_no_promise_and_who_goes_keeps_none():
    """Two cores promised for one container of one core: another of three comes, and that was not promised."""
    made, one, both = Promises(60.0, 0.005), np.array([[True], [True]]), np.array([[True, True], [True, True]])
    level, somebody = np.array([[1.0, 3.0], [1.0, 3.0]]), np.array([True, True])
    of_a, of_both, of_b = (np.full((1, 2), each) for each in (0.25, 1.0, 0.75))
    made.see(0.0, ["a"], one, level[:, :1], np.full(2, 1.0), of_a)
    made.make(0.0, np.full(2, 1.0), np.full(2, 2.0), somebody)
    made.see(20.0, ["a", "b"], both, level, np.full(2, 4.5), of_both)
    made.see(40.0, ["b"], one, level[:, 1:], np.full(2, 3.5), of_b)
    (rise,) = made.see(60.0, ["b"], one, level[:, 1:], np.full(2, 3.0), of_b)
    assert rise.above == pytest.approx([0.5, 0.5]) and made.care.max() == 0.0
    assert (rise.moments == of_both).all(), "the most there was while it held"
    made.make(60.0, np.full(2, 3.0), np.full(2, 3.2), somebody)
    made.see(120.0, ["b"], one, level[:, 1:], np.array([3.3, 3.1]), of_b)
    assert made.care == pytest.approx([(1 - 0.005) / 6, 0.0])

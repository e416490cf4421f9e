"""Jobs that come and go: launched ever more rarely, and at once again when they do better."""

from __future__ import annotations

import pytest

from serenity.framework.placement.flapping import Flapping


@pytest.fixture
def flapping() -> Flapping:
    made = Flapping()
    for _ in range(10):
        made.ended("j", well=False, ran_s=0.0, now_s=100.0)
    return made


def test_nine_bad_ends_are_no_flapping() -> None:
    flapping = Flapping()
    for _ in range(9):
        flapping.ended("j", well=False, ran_s=1.0, now_s=0.0)
    assert flapping.most(0.0) == {} and flapping.of_job("j") is None


def test_from_the_tenth_on_one_is_tried_at_a_time_with_pauses_that_double(flapping: Flapping) -> None:
    now_s, pauses = 100.0, []
    for ends in range(10, 20):
        assert flapping.most(now_s) == {"j": 0}
        counted, pause_s = flapping.of_job("j") or (0, 0.0)
        assert counted == ends
        pauses.append(pause_s)
        now_s += pause_s
        assert flapping.most(now_s) == {"j": 1}
        flapping.launched("j", now_s)
        assert flapping.most(now_s) == {"j": 0}
        flapping.ended("j", well=False, ran_s=9.0, now_s=now_s)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


@pytest.mark.parametrize(("well", "ran_s"), [(True, 0.1), (False, 10.0)])
def test_who_does_better_once_is_trusted_again(flapping: Flapping, well: bool, ran_s: float) -> None:
    flapping.ended("j", well=well, ran_s=ran_s, now_s=200.0)
    assert flapping.most(200.0) == {} and flapping.of_job("j") is None


def test_others_are_not_concerned(flapping: Flapping) -> None:
    flapping.ended("k", well=False, ran_s=0.0, now_s=100.0)
    flapping.launched("k", 100.0)
    assert flapping.of_job("k") is None
    flapping.forget("j")
    assert flapping.most(100.0) == {}

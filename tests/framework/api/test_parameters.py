"""Query parameters, as they may be and as they may not."""

from __future__ import annotations

import pytest

from serenity.framework.api.parameters import Choice, Number, parse
from serenity.framework.api.refusals import BadRequest

NUMBER, CHOICE = Number("n", "", 1, 9, 5), Choice("c", "", ("a", "b"), "a")


def test_parameters_have_defaults_and_are_taken_as_they_are_given():
    assert parse((NUMBER, CHOICE), {}) == {"n": 5, "c": "a"}
    assert parse((NUMBER, CHOICE), {"n": ["7"], "c": ["b"]}) == {"n": 7, "c": "b"}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"n": ["0"]}, "from 1 to 9"),
        ({"n": ["²"]}, "whole number"),
        ({"n": ["9" * 5000]}, "whole number"),
        ({"n": [""]}, "whole number"),
        ({"c": ["z"]}, "one of a, b"),
        ({"x": ["1"]}, "no parameter 'x'; there are c, n"),
        ({"n": ["1", "2"]}, "2 times"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(given, complaint):
    with pytest.raises(BadRequest, match=complaint):
        parse((NUMBER, CHOICE), given)

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.messages.constraints import Constraint


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("rack == r7", [["r7"], ["r6", "r7"]], [["r6"], [], ["r77"]]),
        ("rack==r7", [["r7"]], [["r6"]]),
        ("rack != r7", [["r6"], []], [["r7"], ["r6", "r7"]]),
        ("os ~ debian.*", [["debian-12"], ["debian"]], [["my-debian"], []]),
        ("zone in a,b , c", [["b"], ["c"]], [["d"], [], ["a,b"]]),
        ("note == a in b", [["a in b"]], [["a"]]),
    ],
)
def test_what_satisfies_it(text: str, yes: list[list[str]], no: list[list[str]]) -> None:
    constraint = Constraint.parse(text)
    assert all(constraint.satisfied_by(each) for each in yes)
    assert not any(constraint.satisfied_by(each) for each in no)
    assert Constraint.parse(str(constraint)) == constraint
    assert msgspec.json.decode(msgspec.json.encode(constraint), type=Constraint) == constraint


@pytest.mark.parametrize("text", ["", "rack", "rack =", "rack == ", "== r7", "rack > 3", "a b == c", "zone in"])
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write such as"):
        Constraint.parse(text)


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|a)*b", r"(.)\1", "(", "a*b*c*d*e", "(?:x{1,9}){9}", "(?P<n>a)(?P=n)"])
def test_a_pattern_that_could_be_tried_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"for ever|no regular expression"):
        Constraint.parse(f"os ~ {pattern}")


@pytest.mark.filterwarnings("error")
def test_a_pattern_with_a_bracket_in_a_set_leaves_no_warning_in_the_log() -> None:
    assert Constraint.parse("rack ~ [[x]1").satisfied_by(["[1"])


def test_the_api_refuses_it_too() -> None:
    body = b'{"attribute":"os","operator":"~","values":["(a+)+"]}'
    with pytest.raises(msgspec.ValidationError, match="for ever"):
        msgspec.json.decode(body, type=Constraint)
    with pytest.raises(msgspec.ValidationError, match="one value"):
        msgspec.json.decode(b'{"attribute":"os","operator":"==","values":["a","b"]}', type=Constraint)


@given(st.text("ab.*+?[]{}()|\\1^$-,", max_size=12))
def test_whatever_pattern_is_taken_matches_in_no_time(pattern: str) -> None:
    try:
        constraint = Constraint.parse(f"os ~ {pattern}")
    except ValueError:
        return
    began_s = time.process_time()
    constraint.satisfied_by(["a" * 255 + "!"])
    assert time.process_time() - began_s < 1.0

"""What is no key in any store is not kept: production frameworks name their jobs as they like."""

from __future__ import annotations

import dataclasses

import pytest

from tests.framework.stored import CPI, PERIODS

GLOBE = "\N{EARTH GLOBE EUROPE-AFRICA}"  # Of four bytes.


@pytest.mark.parametrize(("name", "storable"), [("a" * 2400, True), ("a" * 2600, False), ("a\0b", False)])
def test_a_name_has_room_in_a_key_or_is_not_kept(name: str, storable: bool) -> None:
    assert dataclasses.replace(CPI[0], job=name).storable is storable
    assert dataclasses.replace(PERIODS[0], framework=name).storable is storable


def test_all_bytes_of_a_key_must_have_room() -> None:
    assert dataclasses.replace(CPI[0], cpu_type=GLOBE * 300, job=GLOBE * 300).storable
    assert not dataclasses.replace(CPI[0], cpu_type=GLOBE * 400, job=GLOBE * 400).storable
    assert not dataclasses.replace(PERIODS[0], framework=GLOBE * 400, service=GLOBE * 400).storable

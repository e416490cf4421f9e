from __future__ import annotations

import ctypes
import sys
import types

import pytest

from serenity.qos.sources.perf_encoding import GENERIC, Encoding, encoder

NO_LIBRARY = "no-such-library.so"


@pytest.fixture
def binding(monkeypatch):
    """Puts a module in the place of `perfmon`."""

    def put(**names):
        module = types.SimpleNamespace(**names)
        monkeypatch.setitem(sys.modules, "perfmon_of_a_test", module)
        return "perfmon_of_a_test"

    return put


def test_libpfm4s_own_binding_comes_first(binding):
    def encode(name, levels, *_):
        if name == "NO:SUCH":
            return -4, None
        attr = types.SimpleNamespace(type=4, config=0x412E, config1=7, config2=0, exclude_user=0, exclude_kernel=1)
        return 0, attr

    made = encoder(binding(pfm_initialize=lambda: 0, pfm_get_perf_event_encoding=encode), NO_LIBRARY)
    assert made("LONGEST_LAT_CACHE:MISS:u") == Encoding(4, 0x412E, config1=7, flags=1 << 5)
    assert made("NO:SUCH") is None


def test_a_perfmon_that_is_another_package_is_passed_over(binding):
    """PyPI's imports as an empty module."""
    made = encoder(binding(), NO_LIBRARY)
    assert made("cycles") == GENERIC["cycles"]
    assert made("LONGEST_LAT_CACHE:MISS") is None


def test_without_any_library_generic_names_do():
    made = encoder("no_such_module", NO_LIBRARY)
    assert {name: made(name) for name in GENERIC} == GENERIC


def test_the_c_library_agrees_with_the_table():
    try:
        ctypes.CDLL("libpfm.so.4")
    except OSError:
        pytest.skip("libpfm.so.4 is not installed (Debian: libpfm4)")
    made = encoder("no_such_module")
    for name in ("cycles", "instructions", "cache-misses", "LLC-load-misses", "task-clock", "context-switches"):
        encoding = made(name)
        assert encoding is not None
        assert (encoding.type, encoding.config) == (GENERIC[name].type, GENERIC[name].config)
    assert made("cycles:u") == Encoding(0, 0, flags=1 << 5)
    assert made("no-such-event") is None

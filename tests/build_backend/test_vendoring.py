"""The vendored pymesos, and the step that makes it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parents[2] / "build_backend" / "vendoring.py"
_SPEC = importlib.util.spec_from_file_location("vendoring", _PATH)
vendoring = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(vendoring)


def test_an_edit_replaces_its_text():
    assert vendoring.replace_once("a\nb\nc\n", "b\n", "", where="x.py") == "a\nc\n"


@pytest.mark.parametrize(("text", "count"), [("a\n", 0), ("b\nb\n", 2)])
def test_an_edit_whose_text_is_not_there_once_fails(text, count):
    with pytest.raises(vendoring.VendoringError, match=rf"'b' occurs {count} times in x\.py") as error:
        vendoring.replace_once(text, "b\n", "", where="x.py")
    assert "\n" not in str(error.value)


def test_without_an_index_the_error_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(vendoring.VendoringError, match=r"Could not find.*PIP_INDEX_URL.*PIP_FIND_LINKS") as error:
        vendoring._download(tmp_path)
    assert "\n" not in str(error.value)


def test_a_current_copy_needs_no_download(monkeypatch):
    monkeypatch.setattr(vendoring, "_download", lambda scratch: pytest.fail("went to the network"))
    vendoring.vendor()
    assert vendoring.is_current()


def test_a_changed_copy_is_not_current(tmp_path, monkeypatch):
    tmp_path.joinpath("module.py").write_text("x = 1\n")
    tmp_path.joinpath("stamp").write_text(vendoring._fingerprint(tmp_path))
    monkeypatch.setattr(vendoring, "VENDOR", tmp_path)
    assert vendoring.is_current()
    tmp_path.joinpath("module.py").write_text("x = 2\n")
    assert not vendoring.is_current()


def test_importing_pymesos_leaves_sigint_and_logging_alone():
    program = """
import logging, signal
before = signal.getsignal(signal.SIGINT)
from serenity.wire._vendor import pymesos
from serenity.wire._vendor.pymesos import detector, executor, operator_v1, process, scheduler
assert signal.getsignal(signal.SIGINT) is before
assert logging.root.handlers == []
assert logging.getLogger("pymesos").handlers == []
assert logging.getLogger("pymesos").level == logging.NOTSET
"""
    subprocess.run([sys.executable, "-c", program], check=True)

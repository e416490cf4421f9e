"""The command itself: its start-up time, its last resort, output that is cut off."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serenity.cli import main
from serenity.daemon import exits


@pytest.mark.parametrize(
    ("arguments", "most"),
    [(("--help",), 175), (("list", "--help"), 245), (("list", "--url", "http://127.0.0.1:9"), 245)],
)
def test_it_starts_with_few_modules(arguments, most):
    """Most of its start is imports; `python -m bench.start_up` has the time."""
    run = [sys.executable, "-P", "-X", "importtime", "-m", "serenity", *arguments]
    said = subprocess.run(run, capture_output=True, text=True, check=False).stderr
    assert 50 < said.count("import time:") <= most


def test_no_client_verb_loads_what_only_daemons_need():
    heavy = {"gevent", "numpy", "sqlalchemy", "flask", "rich", "matplotlib", "psutil"}
    verbs = ["submit", "list", "show", "kill", "wait", "watch", "logs", "why", "reasons", "nodes"]
    verbs += ["hints", "token", "doctor", "completion"]
    script = "import sys, importlib\n" + "".join(f"importlib.import_module('serenity.cli.{v}')\n" for v in verbs)
    loaded = subprocess.run(
        [sys.executable, "-c", script + "print(set(sys.modules))"], capture_output=True, text=True, check=True
    )
    assert heavy & ast.literal_eval(loaded.stdout) == set()


def test_every_verb_is_in_the_help(capsys):
    assert main.main(["--help"]) == exits.OK
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in main.VERBS)


def test_a_bug_of_ours_is_one_line_and_the_traceback_is_kept(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("serenity.cli.reasons.Reason", None)
    assert main.main(["reasons"]) == exits.BUG
    error = capsys.readouterr().err
    assert error.startswith("this is a bug in Serenity: TypeError") and len(error.splitlines()) == 1
    (file,) = tmp_path.iterdir()
    assert str(file) in error and "Traceback" in file.read_text()


def test_a_reader_that_has_had_enough_is_no_error():
    command = f"{sys.executable} -P -m serenity reasons --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[")


def test_output_that_finds_no_room_is_no_bug_of_ours():
    with open("/dev/full", "w") as full:
        run = [sys.executable, "-P", "-m", "serenity", "reasons"]
        ended = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == exits.USAGE
    assert ended.stderr == "serenity: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_bug_of_ours(closed, tmp_path):
    command = f"{sys.executable} -P -m serenity reasons --json {closed}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (0, b"", [])


def test_a_daemon_that_the_command_becomes_has_all_its_streams(tmp_path):
    log = tmp_path / "log"
    look = f"import os; open({str(log)!r}, 'w').write(str([os.path.exists(f'/proc/self/fd/{{n}}') for n in range(3)]))"
    script = f"""
import os, sys
from serenity.cli import main
main.main(["reasons"])
os.execv(sys.executable, ["python", "-c", {look!r}])
"""
    command = f'{sys.executable} -c "$SCRIPT" <&- >&- 2>&-'
    subprocess.run(["bash", "-c", command], check=True, env={**os.environ, "SCRIPT": script})
    assert log.read_text() == "[True, True, True]"


def test_an_encoding_that_lacks_a_character_does_not_end_a_command():
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    run = [
        sys.executable,
        "-P",
        "-c",
        "import click; from serenity.cli import main; main.main(['--version']); click.echo('≤')",
    ]
    done = subprocess.run(run, capture_output=True, check=True, env=environment)
    assert done.stdout.endswith(b"\n?\n")


@pytest.mark.parametrize("group", [(), ("token",), ("qos",), ("config",)])
def test_a_group_alone_shows_its_help_and_nothing_else(group, capsys):
    assert main.main(group) == exits.USAGE
    shown = capsys.readouterr().err
    assert shown.startswith(f"Usage: {' '.join(('serenity', *group))} [OPTIONS]") and "see `" not in shown


def test_colours_only_on_a_terminal(tmp_path):
    master, slave = os.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        subprocess.run(
            [sys.executable, "-P", "-m", "serenity", "reasons"],
            stdout=slave,
            env={**environment, **variables},
            check=True,
            cwd=Path(tmp_path),
        )
        assert (b"\x1b[" in os.read(master, 65536)) is coloured
    os.close(master)
    os.close(slave)


def test_config_show_tells_where_a_value_comes_from(alone, tmp_path):
    file = tmp_path / "serenity.toml"
    file.write_text('[framework]\nname = "mine"\n')
    shown = alone("config", "show", SERENITY_CONFIG=str(file), SERENITY_FRAMEWORK_ROLE="other").out
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines()}
    assert lines["framework.name"] == [str(file), "mine"]
    assert lines["framework.role"] == ["SERENITY_FRAMEWORK_ROLE", "other"]
    assert lines["estimator.role"] == ["default", "serenity"]
    ran = alone("config", "show", SERENITY_FRAMEWORK_EXECUTOR_CPUS="lots")
    assert ran.code == 2 and "executor_cpus" in ran.err

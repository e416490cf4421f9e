"""Bad input: one clear line on stderr, the exit code of the design, no traceback (`Serenity` checks that)."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

from serenity.cli.main import main
from serenity.cli.stack import can_isolate_by_cgroups
from serenity.wire.messages import runtime_file
from serenity.wire.transport.http import Endpoint, Unreachable, open_stream
from tests.answering import Answering
from tests.polling import eventually


def last_line(ran):
    return ran.err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "arguments", [("list",), ("show", "x"), ("kill", "x"), ("wait", "x"), ("watch",), ("logs", "x"), ("submit", "true")]
)
def test_without_a_framework_all_four_places_are_named(alone, arguments):
    ran = alone(*arguments)
    assert (ran.code, ran.out) == (5, "") and len(ran.err.splitlines()) == 1
    for place in ("--url", "SERENITY_URL", ".config/serenity/serenity.toml", "run/local.json"):
        assert place in ran.err


def test_a_framework_that_does_not_answer_is_named_with_where_its_address_came_from(alone, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    ran = alone("list", SERENITY_URL=url)
    assert ran.code == 5 and url[7:] in ran.err and "SERENITY_URL" in ran.err
    profile = tmp_path / ".config" / "serenity" / "serenity.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text(f'[client]\nurl = "{url}"\n')
    ran = alone("list")
    assert ran.code == 5 and str(profile) in ran.err
    ran = alone("list", "--url", "nonsense")
    assert ran.code == 2 and "--url" in ran.err
    profile.write_text("[client\n")
    ran = alone("list")
    assert ran.code == 2 and str(profile) in ran.err and len(ran.err.splitlines()) == 1


def test_a_runtime_file_of_a_dead_process_is_not_used(alone, tmp_path):
    dead = runtime_file.RuntimeFile(url="http://127.0.0.1:1", master="", agent="", pid=2**22 + 1)
    runtime_file.write(tmp_path / "run", dead)
    ran = alone("list")
    assert ran.code == 5 and "which is gone" in ran.err


def test_what_is_no_framework_is_said_so(alone):
    with Answering(lambda *_: (200, b"<html>hello</html>")) as server:
        ran = alone("list", "--url", f"http://{server.address}")
    assert ran.code == 5 and "does not answer like a Serenity framework" in ran.err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--cpus", "0"), "--cpus"),
        (("--cpus", "-1"), "--cpus"),
        (("--cpus", "nan"), "--cpus"),
        (("--cpus", "many"), "--cpus"),
        (("--mem", "0"), "--mem"),
        (("--mem", "-5M"), "--mem"),
        (("--mem", "lots"), "--mem"),
        (("--instances", "0"), "--instances"),
        (("--instances", "-3"), "--instances"),
        (("--max-retries", "-1"), "--max-retries"),
        (("--max-runtime", "0s"), "--max-runtime"),
        (("--max-runtime", "soon"), "--max-runtime"),
        (("--env", "novalue"), "--env"),
        (("--label", "=x"), "--label"),
        (("--constraint", "rack"), "--constraint"),
        (("--constraint", "os ~ (a+)+"), "for ever"),
        (("--uri", "tool.tgz"), "--uri"),
        (("--uri", "https://h/a", "--uri", "https://g/a"), "two would be called 'a'"),
        (("--disk", "lots"), "--disk"),
        (("--max-free-retries", "-1"), "--max-free-retries"),
        (("--on-unreachable", "panic"), "--on-unreachable"),
        (("--shell", "true"), "only one of them"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_names_it(alone, options, complaint):
    ran = alone("submit", *options, "--", "true")
    assert (ran.code, ran.out) == (2, "") and complaint in last_line(ran)


def test_flags_of_one_job_are_not_for_a_file(alone, tmp_path):
    (tmp_path / "jobs.toml").write_text("[[job]]\ncommand = 'true'\n")
    ran = alone("submit", "--cpus", "1", str(tmp_path / "jobs.toml"))
    assert ran.code == 2 and "--cpus is for one job" in ran.err
    assert "stand before" in alone("submit", str(tmp_path / "jobs.toml"), "--wait").err
    assert alone("submit", str(tmp_path / "none.toml")).code == 2


def test_no_command_is_a_usage_error(alone):
    assert alone("submit").code == 2
    assert "No such command 'frobnicate'" in alone("frobnicate").err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [(("--cpus", "1e6"), "cpus"), (("--mem", "99999T"), "mem_bytes"), (("--instances", "99999999"), "instances")],
)
def test_absurd_amounts_are_refused_by_the_framework_with_a_reason(serenity, options, complaint):
    ran = serenity("submit", *options, "--", "true")
    assert (ran.code, ran.out) == (4, "") and complaint in ran.err and len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("verb", ["show", "kill", "wait", "logs", "why", "watch"])
def test_an_unknown_job_is_not_found(serenity, verb):
    ran = serenity(verb, "nothing-of-that-name")
    assert (ran.code, ran.out) == (3, "") or (verb == "kill" and ran.code == 3)
    assert "no job 'nothing-of-that-name'" in ran.err and len(ran.err.splitlines()) == 1


def test_of_several_jobs_the_others_are_killed_nevertheless(serenity):
    job = serenity("submit", "--cpus", "900", "--", "true").out.strip()
    ran = serenity("kill", "nothing", job)
    assert ran.code == 3 and f"({job})" in ran.err
    assert serenity("wait", job).code == 6


def test_an_ambiguous_name_is_a_usage_error_with_the_list(serenity):
    jobs = [serenity("submit", "--name", "twin", "--cpus", "900", "--", "true").out.strip() for _ in range(2)]
    ran = serenity("show", "twin")
    assert ran.code == 2 and all(job in ran.err for job in jobs)
    serenity("kill", *jobs)


@pytest.mark.parametrize("job", ["", " ", "a/b/c", "../jobs", "x" * 10_000, "hé\x1b[2J"])
def test_strange_names_are_just_not_found(serenity, job):
    ran = serenity("show", job)
    assert ran.code in (2, 3) and len(ran.err.splitlines()) == 1 and "\x1b" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("show", "\udcff"), ("kill", "\udcff"), ("submit", "--env", "A=\udcff", "--", "true"), ("logs", "\udcff/0")],
)
def test_arguments_that_are_no_utf_8_are_no_bug_of_ours(serenity, arguments):
    ran = serenity(*arguments)
    assert ran.code == 2 and len(ran.err.splitlines()) == 1 and "not in UTF-8" in ran.err


def test_a_port_in_use_is_one_line(alone, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = alone("framework", "--listen", listen, "--database", f"sqlite:///{tmp_path}/f.db")
    assert not (tmp_path / "run" / "framework.sock").exists()
    assert ran.code == 4 and last_line(ran) == f"serenity framework: cannot listen on {listen}: Address already in use"


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (("--listen", "0.0.0.0:0"), 2, "--insecure-listen"),
        (("--listen", "nonsense"), 2, "is no address"),
        (("--failover-timeout", "soon"), 2, "failover_timeout"),
        (("--database", "sqlite:////proc/nothing/f.db"), 4, "--database"),
        (("--config", "/nonexistent.toml"), 2, "/nonexistent.toml"),
        (("--frobnicate",), 2, "--frobnicate"),
    ],
)
def test_a_framework_that_cannot_start_says_why_in_one_line(alone, tmp_path, options, code, complaint):
    database = () if "--database" in options else ("--database", f"sqlite:///{tmp_path}/f.db")
    ran = alone("framework", *database, *options)
    assert ran.code == code and complaint in last_line(ran)


def test_settings_with_which_no_executor_could_start_are_found_before_any_job_is_lost_by_them(alone, tmp_path):
    ran = alone("framework", "--database", f"sqlite:///{tmp_path}/f.db", SERENITY_EXECUTOR_WATCH_S="soon")
    assert ran.code == 2 and "watch_s = 'soon'" in last_line(ran)
    (tmp_path / "own.toml").write_text('[executor]\npolicy = { cpu = "nuke" }\n')
    for config in (("--config", f"{tmp_path}/own.toml"), (f"--config={tmp_path}/own.toml",)):
        ran = alone("framework", *config, "--database", f"sqlite:///{tmp_path}/f.db")
        assert ran.code == 2 and "cpu = 'nuke'" in last_line(ran)
        # They start no executor.
        assert alone("framework", "--help", *config).code == 0
        assert alone("framework", "--teardown", "--database", f"sqlite:///{tmp_path}/no.db", *config).code == 0
    ran = alone("local", SERENITY_EXECUTOR_POLICY="cpu=nuke")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1) and "nuke" in ran.err


def test_an_install_without_the_frameworks_packages_says_which_to_install():
    script = "import sys, runpy; sys.modules['sqlalchemy'] = None; "
    script += "runpy.run_module('serenity.framework', run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 4 and "pip install 'serenity-mesos[framework]'" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_framework_ends_at_once_when_told_to_even_with_a_watcher(alone, tmp_path):
    process = alone.start(
        "framework", "--master", "127.0.0.1:9", "--listen", "none", "--database", f"sqlite:///{tmp_path}/f.db"
    )
    socket_path = f"unix:{tmp_path}/run/framework.sock"
    deadline = time.monotonic() + 30
    stream = None
    while stream is None:
        assert time.monotonic() < deadline
        with contextlib.suppress(Unreachable):
            stream = open_stream(Endpoint.parse(socket_path), "GET", "/v1/events", silence_s=20)
        time.sleep(0.05)
    asked_at = time.monotonic()
    process.terminate()
    assert process.wait(15) == 0
    assert time.monotonic() - asked_at < 5
    assert "Traceback" not in process.stderr.read()
    stream.close()


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (("--listen", "nonsense"), 2, "--listen"),
        (("--listen", "127.0.0.1:99999"), 2, "--listen"),
        pytest.param(
            ("--embedded", "--isolation", "cgroups"),
            4,
            "cgroups isolation needs root",
            marks=pytest.mark.skipif(can_isolate_by_cgroups(), reason="here it is possible"),
        ),
        (("--mesos-bin", "/nonexistent"), 4, "/nonexistent"),
    ],
)
def test_a_local_that_cannot_be_says_why_in_one_line_before_it_starts_anything(alone, options, code, complaint):
    ran = alone("local", *options)
    assert (ran.code, ran.out) == (code, "") and complaint in ran.err and len(ran.err.splitlines()) == 1


def test_a_run_directory_that_cannot_be_is_one_line(alone, tmp_path):
    ran = alone("local", "--embedded", "--work-dir", str(tmp_path / "w"), SERENITY_RUN_DIR="/proc/nothing/here")
    assert ran.code == 4 and last_line(ran).startswith("serenity: cannot use the run directory /proc/nothing")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run jobs as somebody else")
def test_a_local_of_root_runs_the_jobs_of_others_whatever_the_umask_is(alone, tmp_path, monkeypatch):
    monkeypatch.setitem(alone.environment, "SERENITY_RUN_DIR", str(tmp_path / "r"))
    before = os.umask(0o077)
    local = alone.start("local", "--embedded", "--listen", "none", "--cpus", "2")
    os.umask(before)
    try:
        eventually(lambda: (tmp_path / "r" / "local.json").exists(), "a framework")
        ran = alone(
            *("submit", "--user", "nobody", "--cpus", "0.1", "--mem", "32M", "--max-free-retries", "0", "--wait"),
            *("--shell", "id -un > name; cat name"),
        )
        assert ran.code == 0, alone("show", ran.out.strip()).out
        assert alone("logs", ran.out.strip()).out == "nobody\n"
    finally:
        local.terminate()
        local.communicate(timeout=30)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nodes", "--for", "10m"), "--for and --reason are for --hold AGENT"),
        (("nodes", "--hold", "a", "--release", "b"), "--hold and --release do not go together"),
        (("nodes", "--hold", "a", "--for", "soon"), "'soon' is no duration"),
        (("estimator", "hold", "--for", "soon"), "'soon' is no duration"),
        (("estimator", "hold", "now"), "now"),
        (("estimator", "leases", "--agent-id", "a", "--run-dir", "/" + "d" * 100), "too long for a Unix socket"),
    ],
)
def test_words_of_operators_that_make_no_sense(arguments, says, capsys):
    assert main(list(arguments)) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and says in told[0]

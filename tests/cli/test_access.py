"""How a user gets at a framework: tokens, profiles, the socket of this machine; and what tells him what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serenity.cli import main
from serenity.cli.profile import PROFILE
from serenity.wire.messages import api
from tests.cli.conftest import Ran, Served, framework_that_says

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def framework(tmp_path_factory: pytest.TempPathFactory, free_port: int) -> Iterator[Served]:
    """Without a Mesos."""
    served = Served(tmp_path_factory.mktemp("access"), "127.0.0.1:9", "nobody", free_port)
    served.serve()
    yield served
    served.end()


@pytest.fixture
def run(framework: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`serenity …` in this process, with a home of its own and without an address of a framework."""
    for name in [each for each in os.environ if each.startswith(("SERENITY_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SERENITY_RUN_DIR", str(tmp_path / "run"))

    def run(*arguments: str, **environment: str) -> Ran:
        # `--profile` sets a variable, for the rest of its process.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(PROFILE, "")
            patch.delenv(PROFILE)
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main.main(arguments)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def token(framework: Served, run: Run, request: pytest.FixtureRequest) -> str:
    return run("token", "create", request.node.name[:60], "--role", "read", "--url", url(framework)).out.strip()


def url(framework: Served) -> str:
    return framework.environment["SERENITY_URL"]


def profile(text: str) -> Path:
    path = Path(os.environ["HOME"]) / ".config" / "serenity" / "serenity.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_over_tcp_it_takes_a_token_and_the_refusal_says_where_from(framework, run, token):
    refused = run("list", "--url", framework.tcp_url)
    assert (refused.code, refused.out) == (4, "") and "serenity token create" in refused.err
    assert run("list", "--url", framework.tcp_url, SERENITY_TOKEN=token).code == 0
    wrong = run("list", "--url", framework.tcp_url, SERENITY_TOKEN=token[:-1])
    assert wrong.code == 4 and "not known, or was revoked" in wrong.err
    for odd in ("a\nb", "é"):
        assert run("list", "--url", framework.tcp_url, SERENITY_TOKEN=odd).code == 2


def test_tokens_are_listed_and_revoked(framework, run, token):
    listed = run("token", "list", "--url", url(framework))
    assert "test_tokens_are_listed" in listed.out and token not in listed.out
    assert max(map(len, run("token", "list", "--url", url(framework)).out.splitlines())) <= 100
    assert run("token", "revoke", "test_tokens_are_listed_and_revoked", "--url", url(framework)).code == 0
    assert run("list", "--url", framework.tcp_url, SERENITY_TOKEN=token).code == 4
    gone = run("token", "revoke", "test_tokens_are_listed_and_revoked", "--url", url(framework))
    assert gone.code == 3 and "token list" in gone.err
    refused = run("token", "create", "x", "--user", "root", "--url", url(framework))
    assert refused.code == 4 and "system user" in refused.err


def test_a_profile_has_an_address_and_a_token_for_it(framework, run, token, tmp_path):
    (tmp_path / "token").write_text(f"{token}\n")
    (tmp_path / "token").chmod(0o600)
    path = profile(f'[client]\nurl = "{framework.tcp_url}"\ntoken_file = "~/token"\n')
    assert run("list").code == 0
    with path.open("a") as file:
        file.write(f'[client.other]\nurl = "{framework.tcp_url}"\n')
    assert run("--profile", "other", "list").code == 4, "it has no token of its own"
    (tmp_path / "token").unlink()
    missing = run("list")
    assert missing.code == 2 and "token_file: cannot read" in missing.err


def test_a_profile_s_token_goes_to_no_other_address(framework, run, token, tmp_path):
    (tmp_path / "token").write_text(token)
    profile(f'[client]\nurl = "http://127.0.0.1:1"\ntoken_file = "{tmp_path}/token"\n')
    assert run("list", "--url", framework.tcp_url).code == 4
    assert run("list", SERENITY_URL=framework.tcp_url).code == 4


@pytest.mark.parametrize(
    ("text", "arguments", "complaint"),
    [
        ("[client]\ncolour = 1\n", (), "[client] has no key 'colour'; it has url, token_file, ca_file"),
        ("[client]\nurl = 1\n", (), "url must be a text such as https://host:8640"),
        ("client = 1\n", (), "[client]"),
        ("[client.a]\nurl = 'x'\n", ("--profile", "b"), "has no profile [client.b]; there are a"),
        ("", ("--profile", "b"), "there is none"),
    ],
)
def test_a_profile_that_cannot_be_used_is_said_so(run, text, arguments, complaint):
    path = profile(text)
    ran = run(*arguments, "list")
    assert ran.code == 2 and complaint in ran.err and str(path) in ran.err


def test_a_home_that_is_somebody_else_s_has_no_profile_for_us(run, monkeypatch):
    def is_file(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_file", is_file)  # Root may read every home.
    ran = run("list")
    assert ran.code == 5 and "no framework found" in ran.err
    assert run("--profile", "lab", "list").code == 2


def test_a_framework_on_this_machine_is_found_by_its_socket(framework, run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "framework.sock").symlink_to(url(framework).removeprefix("unix:"))
    assert run("list").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make somebody else's socket")
def test_a_socket_that_somebody_else_has_put_there_is_not_used(framework, run, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "framework.sock").symlink_to(url(framework).removeprefix("unix:"))
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    os.chown(url(framework).removeprefix("unix:"), 54321, -1)
    try:
        assert run("list").code == 5
    finally:
        os.chown(url(framework).removeprefix("unix:"), 0, -1)


def test_the_doctor_says_who_one_is_and_what_is_missing(framework, run):
    ran = run("doctor", "--json", "--url", url(framework))
    found = {each["about"]: each for each in json.loads(ran.out)}
    assert ran.code == 4, "there is no master"
    assert found["framework"]["state"] == "ok" and "admin" in found["framework"]["text"]
    assert found["mesos"]["state"] == "bad" and "127.0.0.1:9" in found["mesos"]["text"]
    assert {"install", "rights", "cgroups", "counters", "resctrl", "pressure", "left behind"} <= set(found)
    shown = run("doctor", "--url", url(framework)).out
    assert len(shown.splitlines()) == len(json.loads(ran.out)) and "bad   mesos" in shown


class OfAFramework(api.Health, frozen=True, kw_only=True):
    """Whatever the doctor asks a framework for."""

    name: str = "root"
    role: str = "admin"
    users: None = None


@pytest.mark.parametrize(
    ("trouble", "leading", "about", "state", "text"),
    [
        ("cannot write f.db: database or disk is full", True, "store", "bad", "disk is full; nothing is launched"),
        (None, False, "mesos", "ok", "https://h2:8640 leads"),
    ],
)
def test_the_doctor_tells_a_framework_that_cannot_go_on_from_one_that_need_not(
    run, trouble, leading, about, state, text
):
    answer = OfAFramework(
        version="1", framework_id="F", master="m", subscribed=leading, jobs=1, trouble=trouble, leading=leading,
        leader=None if leading else "https://h2:8640",
    )  # fmt: skip
    with framework_that_says(answer) as address:
        ran = run("doctor", "--json", "--url", address)
    found = {each["about"]: each for each in json.loads(ran.out)}
    assert found[about]["state"] == state and text in found[about]["text"]
    assert (ran.code == 4) == (trouble is not None)


def test_the_doctor_s_word_on_corrections_that_are_off(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "qos-off").touch()
    (tmp_path / "run" / "originals").mkdir()
    (tmp_path / "run" / "originals" / "c1.lock").touch()
    found = {each["about"]: each for each in json.loads(run("doctor", "--json").out)}
    assert "qos-off" in found["corrections"]["text"] and "executor --undo" in found["left behind"]["text"]
    assert found["framework"]["state"] == "less" and "no framework found" in found["framework"]["text"]


def completed(run: Run, capsys: pytest.CaptureFixture[str], words: str) -> list[str]:
    last = str(len(words.split(" ")) - 1)
    with pytest.raises(SystemExit):
        run(_SERENITY_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=last)
    return [each.partition(",")[2] for each in capsys.readouterr().out.splitlines()]


def test_a_shell_completes_verbs_and_jobs(framework, run, capsys, monkeypatch):
    assert "_SERENITY_COMPLETE=bash_complete" in run("completion", "bash").out
    assert completed(run, capsys, "serenity li") == ["list"]
    job = run("submit", "--name", "completed", "--url", url(framework), "--", "true").out.strip()
    monkeypatch.setenv("SERENITY_URL", url(framework))
    assert completed(run, capsys, "serenity show compl") == ["completed"]
    assert completed(run, capsys, f"serenity show {job[:6]}") == [job]


def test_a_hint_is_a_line_that_says_where_who_and_from_whom():
    from serenity.cli.watch import _line

    text = "hint for web (cpu): other.7 of f2 is suspected first, and no executor here can correct it"
    event = api.Event(id=1, at=0.0, type=api.EventType.HINT, task="other.7", state="hint", hostname="h7", text=text)
    line = _line(event)
    assert line is not None and line.endswith("h7 for web (cpu): " + text.partition(": ")[2])

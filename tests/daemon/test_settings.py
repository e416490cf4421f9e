from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from serenity.daemon.settings import Origin, SettingsError, default_file, resolve, variable_text


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    master: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 8640
    margin: float = 0.1
    insecure: bool = False
    user: str | None = None

    def __post_init__(self) -> None:
        if self.master == "nowhere":
            raise ValueError("master: 'nowhere' is no address")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "serenity.toml"
    path.write_text('[framework]\nmaster = "file:5050"\nport = 1\nmargin = 2\n[client]\nurl = "http://h7"\n')
    return path


def load(flags: dict[str, object], environ: dict[str, str], file: Path | None) -> tuple[Settings, dict[str, str]]:
    settings, origins = resolve(Settings, "framework", flags, environ, file)
    return settings, {each.key: each.source for each in origins}


def test_flag_before_variable_before_file_before_default(file: Path) -> None:
    settings, sources = load(
        {"port": 3, "insecure": None}, {"SERENITY_FRAMEWORK_PORT": "2", "SERENITY_FRAMEWORK_MARGIN": "0.5"}, file
    )
    assert settings == Settings(master="file:5050", port=3, margin=0.5)
    assert sources == {
        "master": str(file),
        "port": "flag",
        "margin": "SERENITY_FRAMEWORK_MARGIN",
        "insecure": "default",
        "user": "default",
    }


def test_every_value_is_told_with_its_origin(file: Path) -> None:
    _, origins = resolve(Settings, "framework", {}, {}, file)
    assert origins[:2] == (Origin("master", "file:5050", str(file)), Origin("port", 1, str(file)))


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_variables_are_text(file: Path, text: str, expected: bool) -> None:
    settings, _ = load({}, {"SERENITY_FRAMEWORK_INSECURE": text}, file)
    assert settings.insecure is expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[framework]\nmastr = 1", r"serenity.toml: \[framework\] has no key 'mastr'; it has insecure, margin, master"),
        ("[framework]\nmaster = 'h7'\nport = 'x'", r"serenity.toml: port = 'x': Expected `int`, got `str`"),
        ("[framework]\nmaster = 'h7'\nport = '1'", r"port = '1': Expected `int`"),  # In a file, text is text.
        ("[framework]\nmaster = 'h7'\nport = 0", r"port = 0: Expected `int` >= 1"),
        ("[framework]\nmaster = 'nowhere'", r"\[framework\]: master: 'nowhere' is no address"),
        ("framework = 3", r"serenity.toml: framework = 3; it is a table, \[framework\]"),
        ("[framwork]\n", r"there is no table \[framwork\]; there are framework, executor, estimator, client"),
        ("[framework\n", r"serenity.toml: .*line 1"),
        ("[framework]", r"master is not set; give --master, SERENITY_FRAMEWORK_MASTER or \[framework\] master in"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "serenity.toml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message):
        load({}, {}, path)


def test_a_variable_that_is_wrong_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"SERENITY_FRAMEWORK_PORT: port = 'many': Expected `int`"):
        load({}, {"SERENITY_FRAMEWORK_PORT": "many"}, file)


class Ruled(msgspec.Struct, frozen=True, kw_only=True):
    policy: dict[str, str] = {}


def test_a_table_in_a_table_is_written_as_pairs_in_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "serenity.toml"
    path.write_text('[executor]\npolicy = {cpu = "evict", slo = "freeze"}\n')
    from_file, _ = resolve(Ruled, "executor", {}, {}, path)
    assert from_file.policy == {"cpu": "evict", "slo": "freeze"}
    variable = {"SERENITY_EXECUTOR_POLICY": variable_text(from_file.policy)}
    assert resolve(Ruled, "executor", {}, variable, path)[0] == from_file
    assert resolve(Ruled, "executor", {}, {"SERENITY_EXECUTOR_POLICY": " io = evict , "}, path)[0].policy == {
        "io": "evict"
    }
    for wrong in ("cpu", "cpu=", "=evict", "cpu:evict"):
        with pytest.raises(SettingsError, match=r"SERENITY_EXECUTOR_POLICY: policy = .*write KEY=VALUE,KEY=VALUE"):
            resolve(Ruled, "executor", {}, {"SERENITY_EXECUTOR_POLICY": wrong}, path)
    with pytest.raises(TypeError, match="a list has no form"):
        variable_text([1])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*nothing.toml: No such file"):
        load({}, {}, tmp_path / "nothing.toml")
    with pytest.raises(SettingsError, match="cannot read"):
        load({}, {}, tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"binary.toml is no text in UTF-8"):
        load({}, {}, binary)


def test_without_a_file_flags_and_variables_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings, _ = load({"master": "h7:5050"}, {"HOME": str(tmp_path)}, None)
    assert settings == Settings(master="h7:5050")


def test_where_the_file_is(tmp_path: Path) -> None:
    named, xdg, home = tmp_path / "named.toml", tmp_path / "xdg", tmp_path / "home"
    environ = {"SERENITY_CONFIG": str(named), "XDG_CONFIG_HOME": str(xdg), "HOME": str(home)}
    for folder in (xdg, home / ".config"):
        (folder / "serenity").mkdir(parents=True)
        (folder / "serenity" / "serenity.toml").touch()
    assert default_file(environ) == named  # Also when it is not there: that is then the error.
    del environ["SERENITY_CONFIG"]
    assert default_file(environ) == xdg / "serenity" / "serenity.toml"
    del environ["XDG_CONFIG_HOME"]
    assert default_file(environ) == home / ".config" / "serenity" / "serenity.toml"


def test_a_home_that_is_not_ours_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Executors that run as another user inherit the HOME of whoever started the agent."""

    def refuse(self: Path) -> bool:
        if str(self).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied", str(self))
        return False

    monkeypatch.setattr(Path, "is_file", refuse)
    assert default_file({"HOME": str(tmp_path)}) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_home_that_really_is_not_ours_is_passed_over(tmp_path: Path) -> None:
    locked = tmp_path / "home"
    locked.mkdir(mode=0)
    found = default_file({"HOME": str(locked)})
    assert found is None or found == Path("/etc/serenity/serenity.toml")

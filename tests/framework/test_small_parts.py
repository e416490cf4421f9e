"""Ids, reminders, settings: small parts with a rule each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.daemon.settings import SettingsError, resolve
from serenity.framework.jobs.ids import next_id
from serenity.framework.jobs.views import one_line
from serenity.framework.mesos.reminders import Reminders
from serenity.framework.mesos.scheduler import Callbacks
from serenity.framework.settings import FrameworkSettings, estimator_environment, executor_environment

# -- job ids ---------------------------------------------------------------------------------


@given(st.lists(st.floats(1.71e9, 2.7e9), min_size=1, max_size=50))
def test_ids_are_unique_and_in_order_whatever_the_clock_does(times):
    ids = [next_id(None, times[0])]
    for now_s in times[1:]:
        ids.append(next_id(ids[-1], now_s))
    assert ids == sorted(set(ids)) and {len(each) for each in ids} == {7}


# -- reminders ---------------------------------------------------------------------------------


def test_a_reminder_comes_ever_more_rarely_until_it_is_dropped():
    reminders = Reminders(longest_s=30.0)
    reminders.set("a", at_s=10.0, pause_s=10.0)
    came = [t for t in range(121) if reminders.due(float(t)) == ["a"]]
    assert came == [10, 20, 40, 70, 100]
    reminders.drop("a")
    assert [reminders.due(float(t)) for t in range(121, 300)] == [[]] * 179


def test_setting_a_reminder_again_replaces_it():
    reminders = Reminders(longest_s=30.0)
    reminders.set("a", 5.0, 10.0)
    reminders.set("a", 50.0, 10.0)
    assert reminders.due(20.0) == [] and reminders.due(50.0) == ["a"]


# -- settings ----------------------------------------------------------------------------------


def settings(**flags):
    return resolve(FrameworkSettings, "framework", flags, environ={})[0]


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "localhost:0", "[::1]:8640"])
def test_loopback_may_be_listened_on(listen):
    assert settings(listen=listen).address[1] == int(listen.rsplit(":", 1)[1])


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "10.1.2.3:80", "[::]:80", "example.org:80"])
def test_other_addresses_must_be_insisted_on(listen):
    with pytest.raises(SettingsError, match="--insecure-listen"):
        settings(listen=listen)
    assert settings(listen=listen, insecure_listen=True).listen == listen
    assert settings(listen=listen, tls_cert="/etc/cert.pem").listen == listen


def test_it_need_not_listen_for_tokens():
    assert settings(listen="none").address is None


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"listen": "8640"}, "listen: '8640' is no address"),
        ({"listen": "127.0.0.1:99999"}, "listen: "),
        ({"failover_timeout": "soon"}, "failover_timeout: 'soon' is no duration"),
        ({"executor_mem": "much"}, "executor_mem: 'much'"),
        ({"executor_cpus": 0.0}, "executor_cpus"),
        ({"master": "http://"}, "master: "),
        ({"tls_key": "/k"}, "tls_key is given without tls_cert"),
        ({"estimator_role": "serenity"}, "estimator_role is the role of the slack"),
        ({"roll_out_estimators": True, "remove_estimators": True}, "do not go together; give one of them"),
    ],
)
def test_a_bad_setting_names_its_key(flags, complaint):
    with pytest.raises(SettingsError, match=complaint.replace("[", "\\[")):
        settings(**flags)


def test_executors_are_told_their_table_and_variables_and_nothing_else(tmp_path):
    file = tmp_path / "serenity.toml"
    executor = 'rung0 = false\nhold_s = 3.5\npolicy = {cpu = "freeze"}\npipeline = "/p"\n'
    file.write_text(f'[executor]\n{executor}[framework]\nmaster = "m:1"\n')
    environ = {
        "SERENITY_EXECUTOR_PIPELINE": "/q",
        "SERENITY_RUN_DIR": "/r",
        "HOME": "/root",
        "SERENITY_FRAMEWORK_X": "y",
    }
    assert executor_environment(environ, file) == {
        "SERENITY_EXECUTOR_RUNG0": "false",
        "SERENITY_EXECUTOR_HOLD_S": "3.5",
        "SERENITY_EXECUTOR_POLICY": "cpu=freeze",
        "SERENITY_EXECUTOR_PIPELINE": "/q",
        "SERENITY_RUN_DIR": "/r",
    }
    file.write_text("[executor]\na = [1]\n")
    with pytest.raises(SettingsError, match=r"\[executor\] a: a list cannot"):
        executor_environment({}, file)


def test_estimators_are_told_theirs_and_keep_what_must_last_outside_of_their_sandbox(tmp_path):
    file = tmp_path / "serenity.toml"
    file.write_text('[estimator]\nstate_dir = "/var/lib/e"\n[executor]\nhold_s = 3.5\n')
    environ = {"SERENITY_ESTIMATOR_RESERVE": "cpus=1", "SERENITY_EXECUTOR_X": "y"}
    assert estimator_environment(environ, file) == {
        "SERENITY_ESTIMATOR_STATE_DIR": "/var/lib/e",
        "SERENITY_ESTIMATOR_RESERVE": "cpus=1",
    }
    with pytest.raises(SettingsError, match="'state': write a whole path, of a folder on the agents"):
        estimator_environment({"SERENITY_ESTIMATOR_STATE_DIR": "state"}, file)


def test_estimators_are_not_told_what_their_own_command_line_says(tmp_path):
    file = tmp_path / "serenity.toml"
    file.write_text('[estimator]\nrole = "*"\n')
    with pytest.raises(SettingsError, match=r"\[estimator\] role has no effect .* of its --role; leave it out"):
        estimator_environment({}, file)
    environ = {"SERENITY_CONFIG": "/dev/null", "SERENITY_ESTIMATOR_AGENT": "h:5051"}
    with pytest.raises(SettingsError, match=r"SERENITY_ESTIMATOR_AGENT has no effect .* its own agent's address"):
        estimator_environment(environ)


def test_somebody_elses_text_cannot_move_the_cursor():
    assert one_line("a\x1b[2Jb\r\nc") == "a [2Jb c"


# -- executors' ends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (None, "INFO", "E on agent S0 ended"),
        (0, "INFO", "E on agent S0 ended"),
        (2 << 8, "WARNING", "exited with 2; its stderr"),
        (9, "WARNING", "was ended by signal 9; its stderr"),
        (-1, "WARNING", "ended with the status -1"),
    ],
)
def test_an_executor_s_end_is_said_in_words(status, level, words, caplog):
    caplog.set_level("INFO")
    told = []
    Callbacks(SimpleNamespace(tell=told.append), told.append).executorLost(
        None, {"value": "E"}, {"value": "S0"}, status
    )
    (record,) = caplog.records
    assert record.levelname == level and words in record.getMessage() and len(told) == 1

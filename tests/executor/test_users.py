"""Whom tasks run as, and what they are told and not told."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from serenity.executor.tasks.users import UnusableUser, user_of
from serenity.wire.messages.reasons import Reason

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
OWN = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def folder(open_folder):
    made = open_folder / str(len(list(open_folder.iterdir())))
    made.mkdir()
    return made


@pytest.fixture
def careful(start, folder):
    """An executor as an agent has it that nobody has configured."""
    return start(folder, qos=False, allow_root=False)


@pytest.mark.root
@as_root
class TestRoot:
    @pytest.mark.parametrize("user", [None, "root"])
    def test_nobody_becomes_root_by_saying_nothing_or_so(self, careful, agent, labels, user):
        agent.launch("t1", "touch", "was-here", user=user)
        refused = agent.wait_for("t1", "TASK_FAILED")
        assert labels(refused)["serenity.reason"] == "LAUNCH_REFUSED"
        assert "--user" in refused["message"] and "allow_root = true in [executor]" in refused["message"]
        assert refused["message"].count("\n") == 0
        assert not (careful.sandbox / "tasks" / "t1").exists()

    def test_a_task_is_that_user_and_nobody_else(self, careful, agent):
        show = "id -un; id -Gn; echo $HOME $USER; umask; cat $MESOS_SANDBOX/../../executor.log; ls $MESOS_SANDBOX/.."
        agent.launch("t1", "sh", "-c", show, user="nobody")
        agent.wait_for("t1", "TASK_FAILED")
        entry = pwd.getpwnam("nobody")
        assert careful.output("t1").splitlines()[0] == "nobody"
        assert set(careful.output("t1").splitlines()[1].split()) == set(group_names("nobody"))
        assert careful.output("t1").splitlines()[2] == f"{entry.pw_dir} nobody"
        assert "Permission denied" in careful.output("t1", "stderr")  # Others' sandboxes are not even listed.
        folder = careful.sandbox / "tasks" / "t1"
        assert {each.owner() for each in [folder, *folder.iterdir()]} == {"nobody"}

    def test_jobs_without_a_user_have_the_operators_choice(self, start, agent, folder):
        executor = start(folder, qos=False, allow_root=False, task_user="nobody")
        agent.launch("t1", "id", "-un")
        agent.wait_for("t1", "TASK_FINISHED")
        assert executor.output("t1") == "nobody\n"

    def test_an_operators_choice_that_is_not_there_costs_no_job_its_retries(self):
        with pytest.raises(UnusableUser) as error:
            user_of(None, "no-such-user", allow_root=False)
        assert error.value.reason is Reason.LAUNCH_REFUSED


@pytest.mark.skipif(os.geteuid() == 0, reason="needs to be somebody else than root")
class TestNotRoot:
    def test_jobs_run_as_the_executor_does(self, careful, agent):
        for task, user in (("t1", None), ("t2", OWN)):
            agent.launch(task, "id", "-un", user=user)
            agent.wait_for(task, "TASK_FINISHED")
            assert careful.output(task) == f"{OWN}\n"

    def test_and_as_nobody_else(self, careful, agent, labels):
        agent.launch("t1", "true", user="daemon")
        failed = agent.wait_for("t1", "TASK_FAILED")
        assert labels(failed)["serenity.reason"] == "LAUNCH_FAILED"
        assert failed["message"] == "the executor on this agent is not root, and cannot run a task as daemon"

    def test_root_is_refused_first(self):
        with pytest.raises(UnusableUser, match="no job runs as root here"):
            user_of("root", None, allow_root=False)


def test_what_a_job_keeps_secret_is_said_nowhere(start, agent, marker):
    executor = start(qos=False, verbose=True)
    secret = {"PASSWORD": f"secret-{marker}"}
    agent.launch("t1", "sh", "-c", "echo up; sleep 60", env=secret)
    agent.launch("t2", "no-such-command", env=secret)
    agent.launch("t3", "true", env={**secret, "A=B": "x"})
    executor.wait_for_output("t1", "up")
    assert executor.processes_of(f"secret-{marker}") == []
    agent.kill("t1")
    agent.wait_for("t1", "TASK_KILLED")
    for task in ("t2", "t3"):
        agent.wait_for(task, "TASK_FAILED")
    files = [each for each in executor.sandbox.rglob("*") if each.is_file() and "t1" not in each.parts]
    assert executor.log in files
    assert f"secret-{marker}" not in str(agent.calls) + "".join(each.read_text() for each in files)


def test_what_mesos_gives_to_executors_their_tasks_have_too(start, agent):
    executor = start(qos=False, more={"HTTP_PROXY": "http://proxy:1", "LIBPROCESS_SSL_KEY_FILE": "/key"})
    agent.launch("t1", "env")
    agent.wait_for("t1", "TASK_FINISHED")
    told = executor.output("t1").splitlines()
    assert "HTTP_PROXY=http://proxy:1" in told
    assert not any(each.startswith("LIBPROCESS_") for each in told)


def group_names(user):
    return [grp.getgrgid(each).gr_name for each in os.getgrouplist(user, pwd.getpwnam(user).pw_gid)]

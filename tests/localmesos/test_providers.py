"""Resource providers, on the embedded Mesos and on a real one: what the README of Mesos' facts measured."""

from __future__ import annotations

import base64

import pytest


@pytest.fixture
def provider(cluster, tools):
    made = tools.provider(cluster)
    made.report(2, 512)
    return made


def slack_of(provider, cpus=0.0):
    """Whether an offer has at least that much of the provider's."""

    def enough(resources):
        return bool(resources.of_provider(provider.id)) and resources.of_provider(provider.id).cpus >= cpus

    return enough


def has_slack(offer):
    return any("provider_id" in each for each in offer["resources"])


def run_on_slack(scheduler, provider, command="exec sleep 1000", cpus=0.5, offer=None):
    offer = offer or scheduler.offer(slack_of(provider, cpus))
    task = scheduler.task(offer, command={"value": command}, resources=provider.resources(cpus, 64))
    scheduler.accept(offer, task)
    return task


def test_slack_is_offered_to_whoever_takes_revocable(cluster, tools, scheduler, provider):
    offer = scheduler.offer(slack_of(provider, 2))
    slack = [each for each in offer["resources"] if "provider_id" in each]
    assert all(each["revocable"] == {} and each["provider_id"] == {"value": provider.id} for each in slack)
    scheduler.close()
    modest = tools.scheduler(cluster, capabilities=("PARTITION_AWARE", "MULTI_ROLE", "RESERVATION_REFINEMENT"))
    assert not has_slack(modest.offer())


def test_reserved_slack_is_offered_to_its_role_only(cluster, tools):
    provider = tools.provider(cluster)
    provider.report(2, 512, role="be")
    stranger = tools.scheduler(cluster)
    assert not has_slack(stranger.offer())
    stranger.close()
    scheduler = tools.scheduler(cluster, roles=("be",))
    offer = scheduler.offer(slack_of(provider, 2))
    assert offer["allocation_info"] == {"role": "be"}
    task = scheduler.task(offer, command={"value": "true"}, resources=provider.resources(0.5, 64, role="be"))
    scheduler.accept(offer, task)
    scheduler.update(task, "TASK_FINISHED")


def test_a_launch_waits_for_the_publication(cluster, tools, scheduler):
    provider = tools.provider(cluster, status=None)
    provider.report(2, 512)
    task = run_on_slack(scheduler, provider)
    publish = provider.published.get(timeout=5)
    published = {each["name"]: each["scalar"]["value"] for each in publish["resources"]}
    assert published == {"cpus": 0.5, "mem": 64}
    assert scheduler.silent("UPDATE", 0.4)
    provider.answer(publish, "OK")
    provider.status = "OK"
    scheduler.update(task, "TASK_RUNNING")


def test_a_failed_publication_fails_the_first_launch(cluster, tools, scheduler):
    provider = tools.provider(cluster, status="FAILED")
    provider.report(2, 512)
    status = scheduler.update(run_on_slack(scheduler, provider), "TASK_FAILED")
    assert (status["source"], status["reason"]) == ("SOURCE_AGENT", "REASON_CONTAINER_LAUNCH_FAILED")


def test_a_failed_publication_destroys_a_running_container(scheduler, tools, provider):
    executor = tools.executor(provider.resources(0.1, 32))
    offer = scheduler.offer(slack_of(provider, 1))
    data = base64.b64encode(b"run").decode()
    first = scheduler.task(offer, executor=executor, data=data, resources=provider.resources(0.1, 32))
    scheduler.accept(offer, first)
    scheduler.update(first, "TASK_RUNNING")
    provider.status = "FAILED"
    offer = scheduler.offer(slack_of(provider, 1))
    second = scheduler.task(offer, executor=executor, data=data, resources=provider.resources(0.1, 32))
    scheduler.accept(offer, second)
    for task in (first, second):
        assert scheduler.update(task, "TASK_GONE")["reason"] == "REASON_CONTAINER_UPDATE_FAILED"


def test_a_change_rescinds_and_the_old_offer_is_of_no_use(scheduler, provider):
    offer = scheduler.offer(slack_of(provider, 2))
    provider.report(1.5, 512)
    assert scheduler.wait("RESCIND")["rescind"]["offer_id"] == offer["id"]
    status = scheduler.update(run_on_slack(scheduler, provider, offer=offer), "TASK_DROPPED")
    assert status["reason"] == "REASON_INVALID_OFFERS"
    assert scheduler.offer(slack_of(provider, 1.5))["id"] != offer["id"]


def test_another_version_alone_rescinds(scheduler, provider):
    offer = scheduler.offer(slack_of(provider, 2))
    provider.report(2, 512)
    assert scheduler.wait("RESCIND")["rescind"]["offer_id"] == offer["id"]


def test_the_same_report_again_changes_nothing(scheduler, provider):
    scheduler.offer(slack_of(provider, 2))
    version = provider.report(1, 256)
    scheduler.wait("RESCIND")
    scheduler.offer(slack_of(provider, 1))
    provider.report(1, 256, version=version)
    assert scheduler.silent("RESCIND", 0.5)


def test_what_is_held_is_not_offered_again(scheduler, provider, tools, cluster):
    task = run_on_slack(scheduler, provider, cpus=1.5)
    scheduler.update(task, "TASK_RUNNING")
    offered = [
        r for r in scheduler.offer(slack_of(provider))["resources"] if "provider_id" in r and r["name"] == "cpus"
    ]
    assert [each["scalar"]["value"] for each in offered] == [0.5]
    provider.report(1, 512)  # Below what is held: the task goes on, and no cpus are offered.
    scheduler.wait("RESCIND")
    held_back = scheduler.offer(lambda resources: resources.of_provider(provider.id).mem_mb > 0)
    assert not [r for r in held_back["resources"] if "provider_id" in r and r["name"] == "cpus"]
    assert scheduler.states(task)[-1] == "TASK_RUNNING"
    scheduler.kill(task)
    scheduler.update(task, "TASK_KILLED")
    scheduler.offer(slack_of(provider, 1))


def test_a_provider_that_goes_takes_its_resources_and_leaves_the_tasks(cluster, tools, scheduler, provider):
    task = run_on_slack(scheduler, provider)
    pid = scheduler.update(task, "TASK_RUNNING")["container_status"]["executor_pid"]
    offer = scheduler.offer(slack_of(provider, 1))
    provider.close()
    assert scheduler.wait("RESCIND", 3)["rescind"]["offer_id"] == offer["id"]
    assert not has_slack(scheduler.offer())
    assert tools.alive(pid)
    back = tools.provider(cluster, provider_id=provider.id)
    assert back.id == provider.id
    back.report(2, 512)
    offer = scheduler.offer(slack_of(provider, 1))
    cpus = [each["scalar"]["value"] for each in offer["resources"] if "provider_id" in each and each["name"] == "cpus"]
    assert cpus == [1.5]  # The task that runs on holds its part.


def test_an_id_that_is_not_known_gets_a_stream_that_ends(cluster, tools):
    assert tools.provider(cluster, provider_id="3f0ddc3e-6a57-4e3a-a9a7-6d8f3b1ce3a5").id is None


def test_a_negative_total_is_left_out_of_the_offers(scheduler, provider):
    scheduler.offer(slack_of(provider, 2))
    provider.report(-1, 512)
    scheduler.wait("RESCIND")
    offer = scheduler.offer(slack_of(provider))
    assert [each["name"] for each in offer["resources"] if "provider_id" in each] == ["mem"]


def test_a_dynamic_reservation_of_slack_is_offered_and_cannot_be_used(cluster, tools):
    """Which is why slack is reserved statically."""
    provider = tools.provider(cluster)
    provider.reservation = "DYNAMIC"
    provider.report(2, 512, role="be")
    scheduler = tools.scheduler(cluster, roles=("be",))
    offer = scheduler.offer(slack_of(provider, 2))
    task = scheduler.task(offer, command={"value": "true"}, resources=provider.resources(0.5, 64, role="be"))
    scheduler.accept(offer, task)
    message = scheduler.update(task, "TASK_ERROR")["message"]
    assert message.startswith("Task uses invalid resources: Invalid ReservationInfo: Dynamically reserved resource ")
    assert message.endswith(" cannot be created from revocable resources")

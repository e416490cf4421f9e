"""Who has hurt whom, and where those live."""

from __future__ import annotations

from serenity.framework.cluster.antagonists import REMEMBERED_S, Antagonists, Residents
from serenity.wire.messages.statistics import JobStatistics, Statistics


def statistics(*jobs, role="production"):
    return Statistics(
        at=0.0,
        seconds=60.0,
        cpu_type="a CPU",
        jobs=tuple(JobStatistics(role=role, framework="F", job=each, containers=1, cpus=1.0) for each in jobs),
    )


def test_a_confirmed_antagonist_is_remembered_for_a_week_from_the_last_time():
    known = Antagonists()
    known.confirm("ann", "crunch", "web", "llc", 0.0)
    again = known.confirm("ann", "crunch", "web", "cpu", 1000.0)
    assert (again.times, again.cause) == (2, "cpu")
    assert known.hurt_by("ann", "crunch").keys() == {"web"}
    assert not known.hurt_by("bob", "crunch"), "another user's job of the same name is another job"
    assert known.expire(REMEMBERED_S + 999.0) == [] and known.hurt_by("ann", "crunch")
    assert known.expire(REMEMBERED_S + 1000.0) == [again]
    assert not known.hurt_by("ann", "crunch") and not known


def test_what_was_stored_is_known_again():
    first = Antagonists()
    first.confirm("ann", "crunch", "web", "llc", 5.0)
    first.confirm("ann", "crunch", "db", "io", 6.0)
    assert Antagonists(first).hurt_by("ann", "crunch").keys() == {"web", "db"}


def test_agents_where_the_hurt_live():
    residents = Residents()
    residents.learn("a1", statistics("web", "db"), 0.0)
    residents.learn("a2", statistics("mail"), 0.0)
    residents.learn("a3", statistics("web", role="best_effort"), 0.0)
    hurt = {"web": None}
    assert residents.agents_with(hurt, 60.0) == {"a1": "web"}
    residents.learn("a1", statistics("db"), 60.0)
    assert residents.agents_with(hurt, 60.0) == {}, "it has moved away"
    assert residents.agents_with({"mail": None}, 599.0) == {"a2": "mail"}
    assert residents.agents_with({"mail": None}, 600.0) == {}, "nobody has told of it for long"


def test_who_was_seen_there_lives_there_beside_those_that_were_told():
    residents = Residents()
    residents.learn("a1", statistics("db"), 0.0)
    residents.saw("a1", "web", 10.0)
    residents.saw("a2", "web", 10.0)
    assert residents.agents_with({"web": None}, 20.0) == {"a1": "web", "a2": "web"}
    assert residents.agents_with({"db": None}, 20.0) == {"a1": "db"}
    residents.saw("a1", "web", 610.0)
    assert residents.agents_with({"db": None}, 620.0) == {}, "that it still lives there nobody has said"

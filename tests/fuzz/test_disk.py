"""The simulation's store and the real one know the same after every crash."""

from __future__ import annotations

import tempfile

from hypothesis import given

from serenity.framework.store.changes import Changes, Snapshot
from serenity.framework.store.store import Store
from tests.fuzz.disk import Disk
from tests.fuzz.examples import examples
from tests.fuzz.schedules import schedules
from tests.fuzz.steps import Schedule
from tests.fuzz.story import Story
from tests.fuzz.world import World


class Both(Disk):
    def __init__(self, story: Story, store: Store) -> None:
        super().__init__(story)
        self._store = store

    def commit(self, changes: Changes) -> None:
        super().commit(changes)
        self._store.commit(changes)

    def load(self) -> Snapshot:
        snapshot = super().load()
        assert _sorted(snapshot) == _sorted(self._store.load())
        return snapshot


def _sorted(snapshot: Snapshot) -> list[object]:
    return [
        (snapshot.framework_id, snapshot.last_job_id, snapshot.last_event_id),
        sorted(snapshot.jobs, key=lambda job: job[0].id),
        sorted(snapshot.attempts, key=lambda attempt: attempt.task_id),
        sorted(snapshot.executors, key=lambda executor: (executor.agent_id, executor.id)),
        sorted(snapshot.cooldowns, key=lambda cooldown: cooldown.key),
    ]


@examples(5, fuzzing=50)
@given(schedules)
def test_the_disk_of_a_simulation_remembers_what_the_store_does(schedule: Schedule) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/framework.db")
        store.open()
        world = World()
        world.disk = Both(world.story, store)
        try:
            with world.running():
                for step in schedule:
                    step.do(world)
                world.rest()
            assert _sorted(world.disk.load()) == _sorted(store.load())
        finally:
            store.close()

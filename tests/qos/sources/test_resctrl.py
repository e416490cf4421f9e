"""resctrl, on a tree that behaves as the kernel's does."""

from __future__ import annotations

import errno
import math
import os
import shutil

import pytest

from serenity.qos.sources.draft import Faults
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.resctrl import Resctrl, group_name
from serenity.qos.sources.residents import Residents
from tests.manual_clock import ManualClock


class Tree:
    """/sys/fs/resctrl of a machine with L3 domains 0 and 1, and `rmids` monitoring groups in all."""

    def __init__(self, folder, features=("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"), rmids=9):
        self.root = folder / "resctrl"
        self.rmids = rmids
        (self.root / "info/L3_MON").mkdir(parents=True)
        (self.root / "info/L3_MON/mon_features").write_text("\n".join(features) + "\n")
        self.features = features
        (self.root / "mon_groups").mkdir()

    def make(self, group):
        if len(list(self.root.glob("**/mon_data"))) >= self.rmids:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.mkdir(group)
        (group / "tasks").write_text("")
        for domain in ("mon_L3_00", "mon_L3_01"):
            (group / "mon_data" / domain).mkdir(parents=True)
            for feature in self.features:
                (group / "mon_data" / domain / feature).write_text("0\n")

    def control(self, name):
        (self.root / name / "mon_groups").mkdir(parents=True)

    def say(self, row, feature, first, second, control=""):
        group = self.root / control / "mon_groups" / group_name(row.id)
        (group / "mon_data/mon_L3_00" / feature).write_text(f"{first}\n")
        (group / "mon_data/mon_L3_01" / feature).write_text(f"{second}\n")

    def tasks(self, row, control=""):
        return (self.root / control / "mon_groups" / group_name(row.id) / "tasks").read_text().split()

    @property
    def groups(self):
        return sorted(each.parent.name for each in self.root.glob("**/mon_data"))


class Watched:
    def __init__(self, machine, tree):
        self.machine = machine
        self.tree = tree
        self.clock = ManualClock()
        self.faults = Faults()
        files = KeptFiles(FileBudget())
        residents = Residents(self.clock, machine.places, files, machine.proc)
        self.resctrl = Resctrl(
            self.clock, self.faults, files, residents, tree.root, machine.proc, tree.make, shutil.rmtree
        )

    def row(self, name, pid, threads=None, groups="res:/\nmon:/\n", **more):
        row = self.machine.container(name, pid, **more)
        self.live(name, threads or [pid])
        (self.machine.proc / str(pid) / "cpu_resctrl_groups").write_text(groups)
        return row

    def live(self, name, threads):
        self.machine.write("v2", name, cgroup__threads="".join(f"{each}\n" for each in threads))

    def sample(self, *rows, after_s=1.0):
        self.clock.advance(after_s)
        draft = self.machine.draft(*rows)
        self.resctrl.keep([row.id for row in rows])
        self.resctrl.read(draft)
        frame = draft.frame(0.0, None)
        return [
            {name: float(values[i]) for name, values in frame.columns.items() if math.isfinite(values[i])}
            for i in range(len(rows))
        ], frame.readings


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture
def watched(machine, tree):
    return Watched(machine("v2"), tree)


def test_occupancy_and_bandwidth_over_all_caches(watched, tree):
    web, burn = watched.row("web", 1), watched.row("burn", 2, production=False)
    watched.sample(web, burn)
    tree.say(web, "llc_occupancy", 1000, 500)
    tree.say(web, "mbm_total_bytes", 3000, 1000)
    tree.say(burn, "mbm_total_bytes", 8000, 0)
    tree.say(burn, "mbm_local_bytes", 9999, 9999)  # A part of the total.
    (first, second), readings = watched.sample(web, burn, after_s=2.0)
    assert first == {"llc_bytes": 1500.0, "mem_bw": 2000.0}
    assert second == {"llc_bytes": 0.0, "mem_bw": 4000.0}
    assert readings == {"resctrl_left_out": 0}
    assert watched.faults.counts == {}


@pytest.mark.parametrize("word", ["Unavailable", "Error", "Unassigned"])
def test_a_cache_that_does_not_tell_leaves_a_gap_and_no_guess(watched, tree, word):
    web = watched.row("web", 1)
    watched.sample(web)
    tree.say(web, "llc_occupancy", word, 500)
    tree.say(web, "mbm_total_bytes", 1000, word)
    assert watched.sample(web)[0] == [{}]
    tree.say(web, "llc_occupancy", 100, 500)
    tree.say(web, "mbm_total_bytes", 4000, 0)
    # Over the three seconds since the last reading that was one (0, at the start).
    assert watched.sample(web)[0] == [{"llc_bytes": 600.0, "mem_bw": 2000.0}]


def test_amd_without_the_total(machine, tmp_path):
    tree = Tree(tmp_path, features=("llc_occupancy", "mbm_local_bytes"))
    watched = Watched(machine("v2"), tree)
    web = watched.row("web", 1)
    watched.sample(web)
    tree.say(web, "mbm_local_bytes", 500, 0)
    assert watched.sample(web)[0] == [{"llc_bytes": 0.0, "mem_bw": 500.0}]


def test_threads_are_assigned_and_those_that_join_later(watched, tree):
    web = watched.row("web", 1, threads=[1, 11])
    watched.sample(web)
    assert tree.tasks(web) == ["1", "11"]
    watched.live("web", [1, 11, 12])
    watched.sample(web, after_s=1.0)
    assert tree.tasks(web) == ["1", "11"]
    watched.sample(web, after_s=10.0)
    assert tree.tasks(web) == ["1", "11", "12"]


def test_a_container_with_an_allocation_of_its_own_keeps_it(watched, tree):
    tree.control("gold")
    web = watched.row("web", 1, groups="res:/gold\nmon:/\n")
    watched.sample(web)
    assert tree.tasks(web, "gold") == ["1"]


def test_monitoring_of_others_is_left_alone(watched, tree):
    tree.make(tree.root / "mon_groups/theirs")
    web, well = watched.row("web", 1, groups="res:/\nmon:/theirs\n"), watched.row("well", 2)
    for _ in range(2):
        (first, second), _ = watched.sample(web, well)
    assert first == {}
    assert "llc_bytes" in second
    assert watched.faults.counts == {"resctrl": 2}
    watched.resctrl.close()
    assert tree.groups == ["theirs"]


def test_without_an_rmid_left_the_rest_is_measured_by_none(machine, tmp_path, caplog):
    caplog.set_level("INFO")
    tree = Tree(tmp_path, rmids=1)
    watched = Watched(machine("v2"), tree)
    burn, web, third = watched.row("burn", 1, production=False), watched.row("web", 2), watched.row("third", 3)
    for _ in range(2):
        (first, second, last), readings = watched.sample(burn, web, third)
    assert (first, last) == ({}, {})
    assert "llc_bytes" in second  # Production goes first.
    assert readings["resctrl_left_out"] == 2
    assert watched.faults.counts == {}
    assert caplog.text.count("RMID") == 1
    # When it goes, another has its turn.
    (first, _last), readings = watched.sample(burn, third)
    assert tree.groups == [group_name("third")]
    assert readings["resctrl_left_out"] == 1


def test_groups_go_with_their_containers_and_at_the_end(watched, tree):
    web, burn = watched.row("web", 1), watched.row("burn", 2)
    watched.sample(web, burn)
    watched.sample(web)
    assert tree.groups == [group_name("web")]
    watched.resctrl.close()
    assert tree.groups == []


def test_what_a_killed_one_left_is_swept_and_nothing_else(watched, tree):
    tree.control("gold")
    for left in ("mon_groups/serenity-old-1", "gold/mon_groups/serenity-old-2", "mon_groups/theirs"):
        tree.make(tree.root / left)
    watched.sample(watched.row("web", 1))
    assert tree.groups == sorted([group_name("web"), "theirs"])


def test_a_container_that_goes_away_costs_only_itself(watched, tree):
    web, well = watched.row("web", 1), watched.row("well", 2)
    watched.sample(web, well)
    shutil.rmtree(tree.root / "mon_groups" / group_name("web"))
    tree.say(well, "llc_occupancy", 7, 0)
    (_first, second), _ = watched.sample(web, well, after_s=10.0)
    assert second["llc_bytes"] == 7.0


def test_a_machine_without_it_says_so_once(machine, tmp_path, caplog):
    caplog.set_level("INFO")
    tree = Tree(tmp_path)
    shutil.rmtree(tree.root)
    watched = Watched(machine("v2"), tree)
    for _ in range(3):
        assert watched.sample(watched.machine.container(f"web{_}", _ + 1)) == ([{}], {})
    assert [("mount -t resctrl" in each.message) for each in caplog.records] == [True]


def test_names_of_groups_are_of_one_row_and_safe():
    assert group_name("a/../b") != group_name("a_.._b")
    assert "/" not in group_name("a/../b")
    assert len(group_name("x" * 500)) < 128

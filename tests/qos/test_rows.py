"""State that follows containers as they come and go."""

from __future__ import annotations

import numpy as np

from serenity.qos.rows import Ring, Rows


def test_every_container_keeps_its_own_past():
    luck, rows, ring = np.random.default_rng(1), Rows(), Ring(8, 2, -1.0)
    past: dict[str, list[np.ndarray]] = {}
    there: list[str] = []
    for t in range(60):
        if t % 5 == 0:
            there = [name for name in there if luck.random() < 0.7] + [f"{t}-{k}" for k in range(int(luck.integers(3)))]
            luck.shuffle(there)
            places = rows.moves(there)
            if places is not None:
                ring.move(places)
        assert rows.moves(list(there)) is None
        assert [rows.places[name] for name in there] == list(range(len(there)))
        values = luck.random((2, len(there)))
        ring.push(float(t), values)
        past = {name: [*past.get(name, []), values[:, k]] for k, name in enumerate(there)}
        for samples in (1, 5, 8):
            window = ring.window(samples)
            assert ring.times(samples).tolist() == [float(s) for s in range(t + 1)][-min(samples, t + 1) :]
            for k, name in enumerate(there):
                known = past[name][-len(window) :]
                fresh = [np.full(2, -1.0)] * (len(window) - len(known))
                assert np.array_equal(window[:, :, k], np.array([*fresh, *known])), (t, name)


def test_all_may_go_and_others_come():
    rows, ring = Rows(), Ring(4, 1, 0.0)
    for ids in (["a"], [], ["b", "c"], ["c"]):
        places = rows.moves(ids)
        assert places is not None
        ring.move(places)
        ring.push(1.0, np.ones((1, len(ids))))
    assert ring.window(4)[:, 0].tolist() == [[0.0], [0.0], [1.0], [1.0]]

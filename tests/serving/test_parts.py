"""Batches, threads and activations."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from jrank.serving._activations import activate
from jrank.serving._plan import RUN_SHARE, plan_batches
from jrank.serving._threads import usable_cores


@hypothesis.given(st.lists(st.integers(0, 100), max_size=60), st.integers(1, 9), st.integers(1, 300))
def test_every_row_once_within_the_limits(lengths, batch_size, max_tokens):
    lengths = np.array(lengths, np.int32)
    batches = list(plan_batches(lengths, batch_size=batch_size, max_tokens=max_tokens))
    rows = np.concatenate(batches) if batches else np.array([], int)
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) <= 0).all()
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= max_tokens


def _cost(batches, lengths, max_tokens):
    return sum(RUN_SHARE * max_tokens + len(rows) * max(lengths[rows].max(), 1) for rows in batches)


@hypothesis.given(st.lists(st.integers(0, 100), min_size=1, max_size=9), st.integers(1, 9), st.integers(1, 300))
def test_no_other_cut_of_the_sorted_rows_costs_less(lengths, batch_size, max_tokens):
    lengths = np.array(lengths, np.int32)
    order = np.argsort(-lengths, kind="stable")
    found = _cost(list(plan_batches(lengths, batch_size=batch_size, max_tokens=max_tokens)), lengths, max_tokens)
    for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
        batches = np.split(order, np.flatnonzero(cuts) + 1)
        fits = all(
            len(rows) == 1 or (len(rows) <= batch_size and len(rows) * lengths[rows].max() <= max_tokens)
            for rows in batches
        )
        assert not fits or found <= _cost(batches, lengths, max_tokens) * (1 + 1e-9)


def test_sigmoid_at_both_ends():
    values = np.array([[-1000.0], [-40.0], [0.0], [36.0], [1000.0]])
    result = activate(values, "sigmoid")[:, 0]
    assert result[0] == 0.0
    assert result[1] == pytest.approx(4.248354255291589e-18, rel=1e-12)
    assert result[2] == 0.5
    assert result[3] < 1.0
    assert result[4] == 1.0
    assert activate(values, None) is values


def test_softmax_of_large_scores():
    np.testing.assert_allclose(activate(np.array([[1000.0, 1000.0, -1000.0]]), "softmax"), [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "junk"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({}, None),
    ],
)
def test_a_quota_bounds_the_cores(tmp_path, files, want):
    free = usable_cores(cgroup=tmp_path / "none")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(cgroup=tmp_path) == (want or free)


def test_hyper_threads_share_a_core(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    for i in range(4):
        place = tmp_path / f"cpu{i}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{i % 2},{i % 2 + 2}")
    assert usable_cores(cgroup=tmp_path / "none", topology=tmp_path) == 2
    assert usable_cores(cgroup=tmp_path / "none", topology=tmp_path / "none") == 4

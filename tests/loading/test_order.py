"""Shard order: the same patches, few files at a time, still well mixed."""

import numpy as np
import pytest

from stnuclei.loading.slow_disk import by_shards, shard_numbers

LENGTHS = [1000, 3000, 256, 5000]
N = sum(LENGTHS)


def test_shard_numbers():
    numbers = np.array([0, 255, 256, 999, 1000, 4000, 4255, 4256])
    assert shard_numbers(numbers, LENGTHS).tolist() == [0, 0, 1, 3, 4, 16, 16, 17]


def test_the_draw_stays_and_the_seed_decides():
    drawn = np.random.default_rng(0).integers(0, N, 12_000)
    order = by_shards(drawn, LENGTHS, seed=1)
    assert np.array_equal(np.sort(order), np.sort(drawn))
    assert np.array_equal(order, by_shards(drawn, LENGTHS, seed=1))
    assert not np.array_equal(order, by_shards(drawn, LENGTHS, seed=2))
    assert len(by_shards(np.zeros(0, int), LENGTHS, seed=0)) == 0


@pytest.mark.parametrize("window", [1, 4, 8])
def test_few_files_are_open_at_a_time(window):
    order = by_shards(np.random.default_rng(0).permutation(N), LENGTHS, seed=3, window=window)
    shard = shard_numbers(order, LENGTHS)
    first = {s: np.flatnonzero(shard == s)[0] for s in np.unique(shard)}
    last = {s: np.flatnonzero(shard == s)[-1] for s in np.unique(shard)}
    for at in range(0, N, 97):
        live = sum(first[s] <= at <= last[s] for s in first)
        assert live <= window + 1


def test_a_batch_mixes_files():
    order = by_shards(np.random.default_rng(0).permutation(N), LENGTHS, seed=3, window=8)
    middle = shard_numbers(order, LENGTHS)[2048 : N - 2048]
    kinds = [len(np.unique(middle[i : i + 256])) for i in range(0, len(middle) - 256, 256)]
    assert np.median(kinds) >= 8

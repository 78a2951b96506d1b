"""Orders for slow disks: any draw of patches, rearranged so that files are read one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stnuclei.patches.arrays import SHARD


def by_shards(
    order: np.ndarray, lengths: Sequence[int], *, seed: int, window: int = 8, shard: int = SHARD
) -> np.ndarray:
    """Rearrange the patches of an epoch for sequential reading.

    Shards (files) come in random order; `window` of them are open at a time, and patches are drawn at random from
    those (a shuffle buffer of ``window * shard`` patches). What the sampler drew, how often, and so its weights, stays:
    only the order changes.

    Parameters
    ----------
    order
        int64 (n,), patch numbers of one process, from any sampler.
    lengths
        Patches of each store, in the order of the sources.
    seed
        Of the shuffling; one number an epoch and process.
    window
        Shards that are mixed.
    shard
        Patches a file holds.

    Returns
    -------
    int64 (n,), a permutation of `order`.
    """
    order = np.asarray(order, np.int64)
    random = np.random.default_rng(seed)
    shard_of = shard_numbers(order, lengths, shard)
    turn = random.permutation(int(shard_of.max(initial=-1)) + 1)[shard_of]
    # A sliding window: each patch is delayed by up to `window` shards. Sorting by the delayed place is a shuffle
    # buffer whose content is always the last `window` shards, and needs no state.
    ranks = np.unique(turn, return_inverse=True)[1]
    return order[np.argsort(ranks + random.random(len(order)) * window, kind="stable")]


def shard_numbers(numbers: np.ndarray, lengths: Sequence[int], shard: int = SHARD) -> np.ndarray:
    """File of each patch, counted over all stores, int64 (n,)."""
    first = np.cumsum([0, *lengths])
    source = np.searchsorted(first, numbers, side="right") - 1
    shards = np.cumsum([0, *(-(-n // shard) for n in lengths)])
    return shards[source] + (numbers - first[source]) // shard

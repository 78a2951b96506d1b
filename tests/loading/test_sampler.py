"""Weights by hand, orders by property."""

import numpy as np
import pytest

from stnuclei.errors import UserError
from stnuclei.loading.sampler import Sampler, cell_weights, patch_weights, tissue_weights

TISSUE = np.array([0, 0, 0, 1])
PRESENCE = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)


def test_tissue_weights_by_hand():
    # N = 4; tissue 0: 4 / (.85 * 3 + .15 * 4) = 4 / 3.15, tissue 1: 4 / (.85 + .6) = 4 / 1.45
    assert tissue_weights(TISSUE, 0.85) == pytest.approx([4 / 3.15] * 3 + [4 / 1.45])


def test_cell_weights_by_hand():
    # N_c = 3, 1, 0; K = 4. w = 4 / (.85 * 3 + .6), 4 / (.85 + .6); the empty patch weighs as the lightest.
    a, b = 4 / 3.15, 4 / 1.45
    assert cell_weights(PRESENCE, 0.85) == pytest.approx(
        [0.15 + 0.85 * a, 0.15 + 0.85 * (a + b)] + [0.15 + 0.85 * a] * 2
    )


def test_official_counts_give_official_class_weights():
    shown = np.array([4191, 4132, 6140, 232, 1528])
    presence = np.zeros((shown.sum(), 5), dtype=bool)  # one class a patch
    presence[np.arange(shown.sum()), np.repeat(np.arange(5), shown)] = True
    weights = cell_weights(presence, 0.85)[np.cumsum([0, *shown[:-1]])]
    expected = 16223 / (0.85 * shown + 0.15 * 16223)
    assert weights == pytest.approx(0.15 + 0.85 * expected)


def test_both_are_scaled_and_added():
    both = patch_weights("cell+tissue", TISSUE, PRESENCE, 0.85)
    tissue, cell = tissue_weights(TISSUE, 0.85), cell_weights(PRESENCE, 0.85)
    assert both == pytest.approx(tissue / tissue.max() + cell / cell.max())
    assert patch_weights("random", TISSUE, PRESENCE, 0.85) is None
    with pytest.raises(UserError, match="not one of random"):
        patch_weights("cells", TISSUE, PRESENCE, 0.85)


def test_no_labelled_nucleus_at_all_means_equal_weights():
    assert cell_weights(np.zeros((3, 2), dtype=bool), 0.85).tolist() == [1, 1, 1]
    assert np.isfinite(cell_weights(PRESENCE, 1.0)).all()


def test_weights_are_obeyed():
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    drawn = np.bincount(Sampler(4, 100, weights, 80_000, seed=3).epoch(0).ravel(), minlength=4)
    assert drawn / drawn.sum() == pytest.approx(weights / 8, abs=0.01)


def test_random_shows_every_patch_before_any_again():
    order = Sampler(10, 4, None, None, seed=0).epoch(5)
    assert order.shape == (2, 4)  # 10 patches, batches of 4: the nearest whole number, all full
    assert len(np.unique(order)) == 8
    twice = Sampler(10, 5, None, 20, seed=0).epoch(0).ravel()
    assert np.bincount(twice).tolist() == [2] * 10 and len(np.unique(twice[:10])) == 10


def test_order_depends_on_seed_and_epoch_only():
    orders = [Sampler(50, 10, None, None, seed).epoch(epoch) for seed, epoch in [(1, 0), (1, 0), (1, 1), (2, 0)]]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2]) and not np.array_equal(orders[0], orders[3])


def test_shares_of_processes_make_up_the_batch():
    sampler = Sampler(64, 16, np.arange(1.0, 65), None, seed=1)
    whole = sampler.epoch(2)
    shares = [sampler.share(2, rank, 4).reshape(-1, 4) for rank in range(4)]
    assert np.array_equal(np.concatenate(shares, axis=1), whole)


def test_one_batch_where_patches_are_fewer():
    assert Sampler(3, 8, None, None, seed=0).epoch(0).shape == (1, 8)

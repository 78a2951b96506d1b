"""Metrics on label maps and points: golden figures, hand-worked cases, both policies."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from evaluation.stores import grid
from paths import DATA
from stnuclei.evaluation.detection import count_detections, pair_centroids
from stnuclei.evaluation.overlap import _from_sorted, joint_histogram
from stnuclei.evaluation.segmentation import dice, jaccard, panoptic_quality


@pytest.fixture(scope="module")
def golden():
    folder = DATA / "golden"
    figures = json.loads((folder / "official_cellvit.json").read_text())["per_seed"]
    return np.load(folder / "official_cellvit.npz"), figures


@pytest.mark.parametrize("seed", "123456")
def test_golden_panoptic_quality(golden, seed):
    arrays, figures = golden
    true = arrays[f"{seed}/instances"]
    assert panoptic_quality(true, arrays[f"{seed}/watershed_x40"]) == pytest.approx(figures[seed]["pq"], abs=1e-12)
    assert panoptic_quality(true, np.roll(true, (1, 2), (0, 1))) == pytest.approx(figures[seed]["pq_rolled"], abs=1e-12)


@pytest.mark.parametrize("seed", "123456")
def test_golden_pairs(golden, seed):
    arrays, figures = golden
    pairs, no_pred, no_true = pair_centroids(arrays[f"{seed}/pts_true"], arrays[f"{seed}/pts_pred"], 12)
    assert np.array_equal(pairs, arrays[f"{seed}/pairs"]) and len(pairs) == figures[seed]["n_pairs"]
    assert len(no_pred) == len(arrays[f"{seed}/pts_true"]) - len(pairs)
    assert len(no_true) == len(arrays[f"{seed}/pts_pred"]) - len(pairs)


def test_perfect_empty_shifted_and_random():
    true = grid()
    assert panoptic_quality(true, true, policy="corrected") == (1, 1, 1)
    assert panoptic_quality(true, true) == pytest.approx((1, 1, 1), abs=1e-6)
    assert panoptic_quality(true, np.zeros_like(true)) == (0, 0, 0)
    # squares of 10 px moved by 2: intersection 80, union 120, every nucleus matches with IoU 2/3
    assert panoptic_quality(true, np.roll(true, 2, 1), policy="corrected") == pytest.approx((1, 2 / 3, 2 / 3))
    # moved by 4: IoU 60/140 < 1/2, nothing matches unless less is asked
    assert panoptic_quality(true, np.roll(true, 4, 1)).pq == 0
    assert panoptic_quality(true, np.roll(true, 4, 1), iou=0.4, policy="corrected").sq == pytest.approx(60 / 140)
    assert dice(true, np.roll(true, 2, 1)) == pytest.approx(0.8) and jaccard(true, np.roll(true, 2, 1)) == 80 / 120
    noise = np.random.default_rng(0).integers(0, 50, true.shape)
    assert panoptic_quality(true, noise).pq == 0


def test_a_match_needs_more_than_half():
    true = np.zeros((4, 20), int)
    true[:, :10] = 1
    pred = np.zeros_like(true)
    pred[:, :5] = 1  # IoU exactly 1/2
    assert panoptic_quality(true, pred).pq == 0


def test_low_threshold_takes_the_best_assignment():
    true = np.zeros((1, 40), int)
    true[0, 0:10], true[0, 10:20] = 1, 2
    pred = np.zeros_like(true)
    pred[0, 4:14] = 1  # overlaps both, IoU 6/14 and 4/16
    dq, _, _ = panoptic_quality(true, pred, iou=0.2, policy="corrected")
    assert dq == pytest.approx(1 / 1.5)


def test_empty_sides_by_policy():
    nothing, some = np.zeros((8, 8), int), np.ones((8, 8), int)
    assert dice(nothing, nothing) == 0 and np.isnan(dice(nothing, nothing, "corrected"))
    assert np.isnan(jaccard(nothing, nothing)) and jaccard(nothing, some) == 0
    assert panoptic_quality(nothing, nothing).pq == 0
    assert np.isnan(panoptic_quality(nothing, nothing, policy="corrected").pq)
    assert panoptic_quality(nothing, some, policy="corrected").pq == 0


def test_ids_and_order_do_not_matter():
    rng = np.random.default_rng(1)
    true, pred = rng.integers(0, 9, (30, 30)), rng.integers(0, 9, (30, 30))
    pred[rng.random(pred.shape) < 0.9] = true[rng.random(pred.shape) < 0.9][0]
    plain = panoptic_quality(true, pred)
    renamed = np.append(0, rng.permutation(1000)[:8] * 1_000_003 + 1)[pred]
    assert panoptic_quality(true, renamed) == plain  # also the path by sorting
    assert panoptic_quality(true.astype(np.uint16), pred) == plain


def test_both_histograms_agree():
    rng = np.random.default_rng(2)
    true, pred = rng.integers(0, 30, (50, 40)), rng.integers(0, 20, (50, 40))
    a, b = joint_histogram(true, pred), _from_sorted(true, pred)
    for name in a.__dataclass_fields__:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    keep = a.pred_ids % 2 == 0
    part = joint_histogram(true, np.where(pred % 2 == 0, pred, 0))
    for name in a.__dataclass_fields__:
        assert np.array_equal(getattr(a.keep(pred=keep), name), getattr(part, name)), name


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (1, 9), (7, 63), (9, 64), (8, 65), (90, 70)])
def test_overlaps_equal_counts_of_pairs(shape):
    rng = np.random.default_rng(shape[1])
    for filled in (0.0, 0.4, 1.0):
        for types in ((np.int32, np.int32), (np.uint16, np.int64)):
            true, pred = (
                np.sort(rng.integers(1, 9, shape) * (rng.random(shape) < filled), axis=1).astype(dtype)
                for dtype in types
            )
            overlap = joint_histogram(true, pred)
            pairs = Counter(zip(true.ravel().tolist(), pred.ravel().tolist(), strict=True))
            rows = zip(overlap.true_ids[overlap.true_row], overlap.pred_ids[overlap.pred_row], strict=True)
            found = {(int(a), int(b)): int(n) for (a, b), n in zip(rows, overlap.pixels, strict=True)}
            assert found == {pair: n for pair, n in pairs.items() if pair[0] and pair[1]}
            assert dict(zip(overlap.true_ids, overlap.true_area, strict=True)) == Counter(true[true > 0].tolist())
            assert dict(zip(overlap.pred_ids, overlap.pred_area, strict=True)) == Counter(pred[pred > 0].tolist())
            union = overlap.true_area[overlap.true_row] + overlap.pred_area[overlap.pred_row] - overlap.pixels
            assert np.array_equal(overlap.iou, overlap.pixels / union)


def test_bad_maps_are_refused():
    with pytest.raises(ValueError, match="shape"):
        joint_histogram(np.zeros((4, 4), int), np.zeros((4, 5), int))
    with pytest.raises(ValueError, match="negative"):
        joint_histogram(np.full((4, 4), -1), np.zeros((4, 4), int))
    with pytest.raises(ValueError, match="policy"):
        panoptic_quality(np.zeros((4, 4), int), np.zeros((4, 4), int), policy="mine")


def test_gating_after_the_assignment_loses_a_pair():
    # a chain: the smallest sum of distances pairs neighbours crosswise and one pair lies beyond the radius
    true = np.array([[0.0, 0.0], [10.0, 0.0]])
    pred = np.array([[9.0, 0.0], [21.5, 0.0]])
    official = pair_centroids(true, pred, 12, "official")[0]
    corrected = pair_centroids(true, pred, 12, "corrected")[0]
    assert len(corrected) == 2 and len(official) <= 2
    lone = pair_centroids(np.array([[0.0, 0], [100, 0]]), np.array([[99.0, 0], [5000, 0]]), 12, "official")[0]
    assert len(lone) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_corrected_pairs_are_the_best_there_are(seed):
    rng = np.random.default_rng(seed)
    true, pred = rng.random((40, 2)) * 60, rng.random((35, 2)) * 60
    pairs, lost, invented = pair_centroids(true, pred, 8, "corrected")
    distance = np.linalg.norm(true[:, None] - pred[None], axis=2)
    cost = np.where(distance <= 8, distance, 1e6)
    rows, columns = linear_sum_assignment(cost)
    good = cost[rows, columns] < 1e6
    assert len(pairs) == good.sum()
    assert distance[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(cost[rows, columns][good].sum())
    assert sorted([*pairs[:, 0], *lost]) == list(range(40)) and sorted([*pairs[:, 1], *invented]) == list(range(35))
    assert len(pair_centroids(true, pred, 8, "official")[0]) <= len(pairs)


def test_corrected_pairing_takes_a_whole_slide():
    xy = np.random.default_rng(0).random((50_000, 2)) * 40_000
    pairs, lost, invented = pair_centroids(xy, xy[::-1] + 0.5, 12, "corrected")
    assert len(pairs) > 49_900
    with pytest.raises(ValueError, match="corrected"):
        pair_centroids(xy, xy, 12, "official")


def test_dummy_points_of_the_official_code():
    none, three = np.zeros((0, 2)), np.array([[50.0, 50], [60, 60], [70, 70]])
    assert count_detections(none, none, 12) == (1, 0, 0)
    assert count_detections(none, three, 12) == (0, 3, 1)
    assert count_detections(three, none, 12) == (0, 1, 3)
    assert count_detections(none, np.array([[3.0, 4.0]]), 12) == (1, 0, 0)  # near the corner
    assert count_detections(none, none, 12, "corrected") == (0, 0, 0)
    assert count_detections(none, three, 12, "corrected") == (0, 3, 0)

"""Runs, flooding and holes: equal to scikit-image and scipy; memory kept between calls."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

from cellvit.plain_postprocess import same_partition
from stnuclei.cellvit.components import find_runs, label_regions, large_runs
from stnuclei.cellvit.flooding import fill_holes, flood, number_labels, overlaps
from stnuclei.cellvit.workspace import reused


@pytest.mark.parametrize("seed", range(10))
def test_flood_equals_skimage(seed):
    rng = np.random.default_rng(seed)
    heights, mask = rng.random((60, 47)), rng.random((60, 47)) > 0.15
    markers = np.zeros((60, 47), np.int32)
    markers.ravel()[rng.choice(markers.size, 25, replace=False)] = np.arange(1, 26)
    markers = cv2.dilate(markers.astype(np.uint16), np.ones((3, 3))).astype(np.int32)
    assert np.array_equal(flood(heights, markers, mask), watershed(heights, markers, mask=mask))


def test_flood_on_plateaus_equals_skimage_from_single_sources():
    rng = np.random.default_rng(5)
    for _ in range(20):
        heights = rng.integers(0, 4, (30, 30)).astype(float)
        markers = np.zeros((30, 30), np.int32)
        markers.ravel()[rng.choice(900, 4, replace=False)] = np.arange(1, 5)
        heights[markers > 0] = -rng.permutation(4) - 1.0  # markers do not tie
        assert np.array_equal(flood(heights, markers, heights < 9), watershed(heights, markers))


def painted(runs, shape):
    """The regions of runs as a label map."""
    labels = np.zeros(shape, np.int32)
    for y, start, end, region in zip(runs.row, runs.start, runs.end, runs.region, strict=True):
        assert not labels[y, start:end].any() and start < end
        labels[y, start:end] = region
    return labels


@pytest.mark.parametrize("seed", range(12))
def test_flood_equals_skimage_whether_a_region_holds_no_marker_one_or_several(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 70, 2))
    mask = cv2.GaussianBlur(rng.random(shape), (5, 5), 0) > rng.uniform(0.4, 0.6)
    heights = rng.permutation(mask.size).reshape(shape) / mask.size  # no ties: skimage's order there is its heap's
    markers = label_regions(rng.random(shape) < rng.uniform(0, 0.1)) * 3
    assert np.array_equal(flood(heights, markers, mask), watershed(heights, markers, mask=mask))


@pytest.mark.parametrize("seed", range(12))
def test_runs_of_any_map(seed):
    rng = np.random.default_rng(seed)
    shape, dtype = tuple(rng.integers(0, 40, 2)), rng.choice([np.uint8, np.bool_, np.uint16, np.int64])
    labels = (rng.random(shape) < 0.5).astype(dtype) * rng.integers(1, 4, shape).astype(
        dtype
    )  # more runs than expected
    found = painted(find_runs(labels), shape)
    expected = np.zeros(shape, np.int32)
    for k in np.unique(labels[labels > 0]):
        pieces, _ = ndimage.label(labels == k)
        expected += np.where(pieces > 0, pieces + expected.max(), 0)
    assert same_partition(found, expected)


def test_pieces_of_markers_in_a_mask():
    mask = np.array([[1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]], np.uint8)
    markers = np.array([[0, 5, 5, 5, 0, 5], [7, 7, 7, 0, 0, 0], [9, 0, 0, 2, 2, 2]], np.int32)
    seeds = find_runs(markers)
    pieces = overlaps(find_runs(mask), seeds, markers[seeds.row, seeds.start])
    assert pieces.start.tolist() == [1, 3, 5, 0, 3] and pieces.end.tolist() == [2, 4, 6, 1, 5]
    assert pieces.run.tolist() == [0, 1, 1, 2, 2] and pieces.label.tolist() == [5, 5, 5, 9, 2]
    number_labels(pieces)
    assert pieces.label.tolist() == [2, 2, 2, 3, 1]  # 7 lies outside


def test_reused_memory():
    first = reused("test", (3, 5), np.float32)
    first[:] = 7
    assert first.flags.c_contiguous and first.ctypes.data % 64 == 0
    smaller = reused("test", (2, 2), np.uint8)
    assert np.shares_memory(first, smaller) and not np.shares_memory(first, reused("other", (3, 5), np.float32))
    larger = reused("test", (3000, 1000), np.float64)
    assert larger.ctypes.data % 64 == 0 and not np.shares_memory(first, larger) and (first[1:] == 7).all()


def test_flood_leaves_unreached_parts():
    mask = np.array([[1, 1, 0, 1]], bool)
    assert flood(np.zeros((1, 4)), np.array([[5, 0, 0, 0]], np.int32), mask).tolist() == [[5, 5, 0, 0]]


def test_holes_and_specks_equal_scipy():
    rng = np.random.default_rng(6)
    for _ in range(20):
        mask = rng.random((50, 41)) < 0.6
        filled = mask.astype(np.uint8)
        fill_holes(filled)
        assert np.array_equal(filled > 0, ndimage.binary_fill_holes(mask))
        kept = painted(large_runs(mask.astype(np.uint8), 10), mask.shape)
        labels, _ = ndimage.label(mask)
        assert np.array_equal(kept > 0, mask & (np.bincount(labels.ravel())[labels] >= 10))

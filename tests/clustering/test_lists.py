"""Neighbours by lists of points: what the margin promises, and every pair where it is wide."""

import numpy as np
import pytest

from stnuclei.clustering import lists as of_lists
from stnuclei.clustering import neighbours
from stnuclei.clustering.lists import make_lists, margin_for, search_lists
from stnuclei.clustering.neighbours import nearest_neighbours


@pytest.fixture(scope="module")
def points():
    random = np.random.default_rng(3)
    centres = random.normal(0, 3, (9, 10))
    return (centres[random.integers(0, 9, 2_500)] + random.normal(size=(2_500, 10))).astype(np.float32)


def test_lists_hold_every_point_once_beside_its_nearest_centre(points):
    lists = make_lists(points, threads=2)
    assert np.array_equal(np.sort(lists.order), np.arange(2_500)) and np.array_equal(lists.points, points[lists.order])
    assert len(lists.centres) == int(of_lists.LISTS_PER_ROOT * 50) and lists.bounds[-1] == 2_500
    distances = np.linalg.norm(lists.points[:, None] - lists.centres[None], axis=2)
    of_point = lists.of_points()[lists.order]
    assert (np.diff(of_point) >= 0).all()
    assert np.allclose(distances[np.arange(2_500), of_point], distances.min(axis=1), atol=1e-4)


def test_a_wide_margin_finds_the_neighbours_of_every_pair(points, monkeypatch):
    monkeypatch.setattr(of_lists, "BLOCK", 700)  # the last block and the last product are smaller than the others
    monkeypatch.setattr(of_lists, "PRODUCT_ROWS", 150)
    squared, rows = search_lists(make_lists(points), 8, np.inf, threads=2)
    distances = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    assert np.array_equal(rows, np.argsort(distances, axis=1)[:, :8])
    assert np.allclose(np.sqrt(np.maximum(squared, 0))[:, 1:], np.sort(distances, axis=1)[:, 1:8], atol=1e-3)


def test_the_margin_holds_the_lists_of_so_many_true_neighbours(points):
    lists, truth = make_lists(points), nearest_neighbours(points, 10).indices
    sample = np.arange(0, 2_500, 2)
    margin = margin_for(lists, points[sample], truth[sample], 0.9)
    _, rows = search_lists(lists, 10, margin)
    hits = [len(np.intersect1d(a, b)) / 10 for a, b in zip(rows[sample], truth[sample], strict=True)]
    # A neighbour of the sample is found if its list is searched: nine tenths are.
    assert np.mean(hits) == pytest.approx(0.9, abs=0.01)


def test_points_far_from_all_others_get_their_neighbours_too(monkeypatch):
    monkeypatch.setattr(neighbours, "EXACT_CELLS", 1_000)
    random = np.random.default_rng(0)
    near = random.normal(size=(4_000, 6))
    points = np.concatenate([near, 1_000 + random.normal(size=(3, 6))]).astype(np.float32)
    found = nearest_neighbours(points, 15)
    distances = np.linalg.norm(points[-3:, None].astype(float) - points[None], axis=2)
    assert [set(row[:3]) for row in found.indices[-3:]] == [{4_000, 4_001, 4_002}] * 3
    assert np.allclose(found.distances[-3:], np.sort(distances, axis=1)[:, :15], rtol=1e-3, atol=0.3)

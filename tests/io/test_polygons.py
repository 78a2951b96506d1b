"""Polygons from vertex tables."""

import numpy as np
import pytest
import shapely

from stnuclei.io.polygons import build_polygons, group_pieces, repair


def square(x, y, side=2.0, closed=True):
    ring = np.array([[0, 0], [side, 0], [side, side], [0, side], [0, 0]]) + (x, y)
    return ring if closed else ring[:-1]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("shuffled", [False, True])
def test_one_polygon_a_group_in_the_order_of_the_table(closed, shuffled):
    values = [7, 3, 900_000, 4]
    rings = [square(10 * k, 0, closed=closed) for k in range(4)]
    group = np.repeat(values, len(rings[0]))
    vertices = np.vstack(rings)
    if shuffled:  # rows of the groups interleaved, each group's own order kept
        order = np.argsort(np.tile(np.arange(len(rings[0])), 4), kind="stable")
        group, vertices = group[order], vertices[order]
    first, polygons = build_polygons(group, vertices)
    assert group[first].tolist() == values
    assert shapely.area(polygons).tolist() == [4.0] * 4
    assert shapely.bounds(polygons)[:, 0].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("group", [[7, 7, 3, 3, 3, 9, 1], [7, 3, 7, 3, 9, 1, 3]])
def test_pieces_hold_whole_groups_in_the_order_they_begin(group):
    group = np.array(group)
    pieces = [group[rows].tolist() for rows in group_pieces(group, 2)]
    assert pieces == [[7, 7, 3, 3, 3], [9, 1]]
    assert isinstance(next(group_pieces(group, 2)), slice) == (group[1] == 7)


def test_what_encloses_nothing_is_none():
    rings = [square(0, 0), np.array([[5.0, 5], [6, 6]]), np.array([[1.0, 1], [2, 2], [3, 3]]), np.full((13, 2), 4.0)]
    group = np.repeat(range(4), [len(ring) for ring in rings])
    _, polygons = build_polygons(group, np.vstack(rings))
    assert [one is None for one in polygons] == [False, True, True, True]


def test_mending_keeps_good_ones_and_splits_what_falls_apart():
    bow = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    spiked = shapely.Polygon([(0, 0), (4, 0), (4, 4), (9, 4), (4, 4), (0, 4)])
    several = shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(5, 5, 7, 7), shapely.box(9, 9, 9.1, 9.1)])
    good = shapely.box(0, 0, 1, 1)
    parts, source = repair(
        np.array([good, bow, None, spiked, several, shapely.LineString([(0, 0), (1, 1)])], dtype=object)
    )
    assert source.tolist() == [0, 1, 1, 3, 4, 4]
    assert shapely.is_valid(parts).all() and (shapely.get_type_id(parts) == 3).all()
    assert parts[0] is good or parts[0].equals_exact(good)
    assert shapely.area(parts[3]) == pytest.approx(16)

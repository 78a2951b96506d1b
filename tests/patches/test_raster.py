"""Area, holes, shared edges, overlaps, and speed of the polygon fill."""

import time

import numpy as np
import pytest
import shapely
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from stnuclei.patches.raster import Outlines, rasterize


def nuclei(n, seed=0, size=1000):
    """Irregular convex polygons of about 12 px, not touching the border."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, (n, 12)), axis=1)
    radius = random.uniform(4, 9, (n, 1))
    centre = random.uniform(12, size - 12, (n, 1, 2))
    points = centre + radius[..., None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    return shapely.polygons(points)


def inside(polygon, width, height):
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return shapely.contains_xy(polygon, x, y)


def test_area_equals_the_polygons():
    polygons = nuclei(4000, size=3000)
    pixels = sum((rasterize(polygons[i : i + 1], 3000, 3000) > 0).sum() for i in range(0, 200))
    assert pixels / shapely.area(polygons[:200]).sum() == pytest.approx(1, abs=0.01)
    together = np.bincount(rasterize(polygons, 3000, 3000).ravel())[1:].sum()
    assert together / shapely.union_all(polygons).area == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_those_whose_centre_lies_inside(seed):
    for polygon in nuclei(20, seed, size=40):
        assert np.array_equal(rasterize([polygon], 40, 40) > 0, inside(polygon, 40, 40))


def test_holes_stay_empty_and_parts_are_one_nucleus():
    ring = Polygon(box(2, 2, 18, 18).exterior, [box(6, 6, 12, 12).exterior])
    two = MultiPolygon([box(20, 2, 24, 8), box(26, 2, 30, 8)])
    labels = rasterize([ring, two], 32, 20)
    assert (labels == 1).sum() == 16 * 16 - 6 * 6
    assert (labels[6:12, 6:12] == 0).all()
    assert (labels == 2).sum() == 2 * 4 * 6


def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_free():
    centre = (20.5, 20.5)  # on a pixel's centre
    corners = [(0.5, 0.5), (40.5, 0.5), (40.5, 40.5), (0.5, 40.5)]
    triangles = [Polygon([centre, corners[i], corners[(i + 1) % 4]]) for i in range(4)]
    single = [rasterize([triangle], 42, 42) > 0 for triangle in triangles]
    assert (np.sum(single, axis=0) <= 1).all()
    assert np.sum(single) == 40 * 40


def test_invalid_outlines_are_mended_and_missing_ones_have_no_pixel():
    bow_tie = Polygon([(1, 1), (9, 9), (9, 1), (1, 9)])
    mixed = GeometryCollection([LineString([(0, 0), (5, 5)]), box(12, 12, 16, 16)])
    labels = rasterize([bow_tie, None, Polygon(), mixed, LineString([(0, 0), (9, 9)])], 20, 20)
    assert (labels == 1).sum() == pytest.approx(shapely.make_valid(bow_tie).area, abs=4)
    assert set(np.unique(labels)) == {0, 1, 4}
    assert (labels == 4).sum() == 16


def test_the_smaller_lies_on_top_and_of_equals_the_later():
    small, large = box(5, 5, 10, 10), box(2, 2, 14, 14)
    for order in ([small, large], [large, small]):
        labels = rasterize(order, 16, 16)
        assert (labels == 1 + order.index(small)).sum() == 25
    assert (rasterize([small, small], 16, 16) == 2).sum() == 25


def test_a_region_shows_what_the_whole_shows():
    polygons = nuclei(300, size=200)
    whole = rasterize(polygons, 200, 200)
    outlines = Outlines.of(polygons)
    rows = outlines.within(50, 60, 130, 150)
    part = outlines.paint(rows, 50, 60, 80, 90)
    assert np.array_equal(np.append(0, rows + 1)[part], whole[60:150, 50:130])


def test_matrix_moves_the_vertices():
    matrix = np.array([[0, -2, 30], [2, 0, 4], [0, 0, 1]])
    circle = Point(8, 6).buffer(3)
    turned = shapely.affinity.affine_transform(circle, [0, -2, 2, 0, 30, 4])
    labels = Outlines.of([circle], matrix).paint(np.arange(1), 0, 0, 40, 40)
    assert np.array_equal(labels > 0, rasterize([turned], 40, 40) > 0)


def test_no_nuclei():
    outlines = Outlines.of(np.zeros(0, object))
    assert len(outlines) == 0
    assert not outlines.paint(outlines.within(0, 0, 9, 9), 0, 0, 9, 9).any()


def test_speed_is_that_of_a_compiled_fill():
    polygons = nuclei(20_000, size=4000)
    outlines = Outlines.of(polygons)
    outlines.paint(np.arange(10), 0, 0, 16, 16)
    begin = time.process_time()
    outlines.paint(np.arange(20_000), 0, 0, 4000, 4000)
    rate = 20_000 / (time.process_time() - begin)
    print(f"{rate:,.0f} polygons/s")
    assert rate > 30_000

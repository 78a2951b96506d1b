"""Tiles of the alignment check."""

import numpy as np
import shapely

from stnuclei.quality.tiles import SIDE, paint_tile


def test_holes_and_pixel_centres_are_respected():
    ring = shapely.Point(300, 260).buffer(40, quad_segs=64).difference(shapely.Point(300, 260).buffer(20))
    labels = paint_tile(np.array([ring], dtype=object), np.array([100.0, 60.0]), 2.0)
    assert labels.shape == (SIDE, SIDE) and labels[100, 100] == 0 and labels[100, 115] == 1
    assert abs((labels == 1).sum() - ring.area / 4) < 0.01 * ring.area / 4

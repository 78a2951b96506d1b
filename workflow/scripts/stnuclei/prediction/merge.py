"""Nuclei across the borders of cells: each exactly once.

Cells share one set of maps and own the nuclei whose middle they hold, so a nucleus on a border is found twice or more,
alike, and owned once. Only where a clump is so large that a window does not show all of it can two windows cut it
differently; then a copy nobody owns is kept where nothing owned covers it, and of two that cover each other one is.
"""

from __future__ import annotations

import numpy as np
import shapely

from stnuclei.prediction.nuclei_arrays import FoundNuclei

#: Two nuclei that share more than this of the smaller are one.
SAME = 0.5
#: Nuclei this near to a border (network px) are compared as well: across it one may be seen a little larger.
NEAR = 16


def merge(nuclei: FoundNuclei) -> FoundNuclei:
    """Keep each nucleus once.

    Parameters
    ----------
    nuclei
        Of all cells along a border: owned ones and copies, in any order.

    Returns
    -------
    Those kept, ordered by the top and left of their boxes; the result does not depend on the order given.
    """
    if not len(nuclei):
        return nuclei
    left, top, right, bottom = nuclei.bbox.T
    order = np.lexsort((bottom, right, left, top, -nuclei.area, ~nuclei.owned))
    nuclei = nuclei.take(order)
    nuclei = nuclei.take(_first_of_equals(nuclei))
    nuclei = nuclei.take(_not_covered(nuclei))
    return nuclei.take(np.lexsort((nuclei.bbox[:, 0], nuclei.bbox[:, 1])))


def _first_of_equals(nuclei: FoundNuclei) -> np.ndarray:
    """Rows of the first among nuclei with the same box and area: the same pixels, found from several cells."""
    keys = np.column_stack([nuclei.bbox, nuclei.area])
    return np.sort(np.unique(keys, axis=0, return_index=True)[1])


def _not_covered(nuclei: FoundNuclei) -> np.ndarray:
    """Rows that no row before them (kept itself) covers; (n,) bool."""
    one, other = shapely.STRtree(nuclei.geometry).query(nuclei.geometry, predicate="intersects")
    before = one < other
    one, other = one[before], other[before]
    shared = shapely.area(shapely.intersection(nuclei.geometry[one], nuclei.geometry[other]))
    size = shapely.area(nuclei.geometry)
    same = shared > SAME * np.minimum(size[one], size[other])
    keep = np.ones(len(nuclei), bool)
    by_row = np.lexsort((other[same], one[same]))
    for first, second in zip(one[same][by_row].tolist(), other[same][by_row].tolist(), strict=True):
        if keep[first]:
            keep[second] = False
    return keep

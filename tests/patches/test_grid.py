"""Grid and tissue fractions."""

import numpy as np
import pytest

from stnuclei.errors import UserError
from stnuclei.patches.grid import PatchGrid, TissueFractions
from stnuclei.quality.tissue_map import TissueMap


@pytest.mark.parametrize("length", [10, 255, 256, 257, 1000, 5000])
@pytest.mark.parametrize("stride", [64, 200, 256, 300])
def test_every_pixel_is_in_a_patch_unless_patches_leave_gaps(length, stride):
    starts = PatchGrid(length, 256, 256, stride).columns
    covered = np.zeros(length, bool)
    for start in starts:
        covered[start : start + 256] = True
    if stride <= 256:
        assert covered.all()
    assert (starts < length).all()
    assert (np.diff(starts) == stride).all()
    if stride <= 256 and len(starts) > 1:  # the last patch is needed
        assert not covered[:length].all() or starts[-2] + 256 < length


def test_blocks_hold_each_patch_once():
    grid = PatchGrid(30_000, 9_000, 256, 192)
    corners = np.concatenate(grid.blocks())
    assert len(corners) == len(grid) == len(np.unique(corners, axis=0))
    assert all(np.ptp(block, axis=0).max() + 256 <= 4096 for block in grid.blocks())


def test_shares_are_exact_to_fractions_of_a_map_pixel():
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, (20, 30)).astype(np.uint8)
    tissue_map = TissueMap(classes, um_per_px=8.0, he_px_per_px=32.0)
    fine = classes.repeat(32, 0).repeat(32, 1)
    corners = np.array([(0, 0), (37, 101), (500, 300), (900, 600)])
    fractions = TissueFractions(tissue_map).of(corners, 100, 1.0)
    for (x, y), own in zip(corners, fractions, strict=True):
        piece = fine[y : y + 100, x : x + 100]
        assert own == pytest.approx([(piece == k).sum() / 100**2 for k in (1, 2, 3)])


def test_sizes_that_make_no_sense():
    with pytest.raises(UserError, match="stride"):
        PatchGrid(100, 100, 256, 0)

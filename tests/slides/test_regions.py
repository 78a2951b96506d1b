"""Resampling: means over exact areas, the same in blocks, no shift."""

import cv2
import numpy as np
import pytest

from stnuclei.slides.regions import pixel_ratio, read_padded, read_region, weights

RANDOM = np.random.default_rng(0)
SLIDE = RANDOM.integers(0, 256, (330, 410, 3), dtype=np.uint8)


def exact(slide, ratio, width, height):
    """Area means by integrating: cumulative sums, linear inside a pixel."""
    sums = np.zeros((slide.shape[0] + 1, slide.shape[1] + 1, 3))
    sums[1:, 1:] = slide.astype(float).cumsum(0).cumsum(1)
    rows = np.array([[np.interp(np.arange(height + 1) * ratio, np.arange(len(sums)), sums[:, c, k]) for k in range(3)]
                     for c in range(sums.shape[1])])  # fmt: skip
    both = np.array([[np.interp(np.arange(width + 1) * ratio, np.arange(sums.shape[1]), rows[:, k, r])
                      for r in range(height + 1)] for k in range(3)])  # fmt: skip
    return (np.diff(np.diff(both, axis=1), axis=2) / ratio**2).transpose(1, 2, 0)


@pytest.mark.parametrize("ratio", [1.176, 1.826, 2.0, 2.5, 3.7])
def test_each_pixel_is_the_mean_over_its_area(ratio):
    width, height = int(400 / ratio), int(320 / ratio)
    ours = read_region(SLIDE, 0, 0, width, height, ratio)
    assert np.abs(ours - exact(SLIDE, ratio, width, height)).max() < 0.51


def test_whole_factors_equal_cv2_inter_area():
    whole = SLIDE[:320, :400]
    for factor in (2, 4):
        cv = cv2.resize(whole, (400 // factor, 320 // factor), interpolation=cv2.INTER_AREA)
        ours = read_region(SLIDE, 0, 0, 400 // factor, 320 // factor, factor)
        assert np.abs(ours.astype(int) - cv).max() <= 1  # cv2 rounds halves to even


@pytest.mark.parametrize("ratio", [0.687, 0.913, 1.0, 1.826])
def test_blocks_give_the_pixels_of_the_whole(ratio):
    whole = read_region(SLIDE, 0, 0, 200, 160, ratio)
    for x, y, w, h in ((0, 0, 64, 64), (37, 51, 80, 20), (136, 96, 64, 64)):
        assert np.array_equal(read_region(SLIDE, x, y, w, h, ratio), whole[y : y + h, x : x + w])


@pytest.mark.parametrize("ratio", [0.687, 0.913, 1.176, 1.826])
def test_nothing_moves(ratio):
    """A ramp stays a ramp: output pixel j shows the value at its centre (j + 0.5) ratio."""
    ramp = np.broadcast_to((np.arange(400) * 0.5)[None, :, None], (60, 400, 3)).astype(np.uint8)
    smooth = np.round(np.broadcast_to(np.arange(400)[None, :, None] / 2, (60, 400, 3))).astype(np.uint8)
    for picture in (ramp, smooth):
        out = read_region(picture, 10, 5, 150, 20, ratio)[..., 0].astype(float)
        centre = (np.arange(10, 160) + 0.5) * ratio - 0.5
        assert np.abs((out - centre * 0.5).mean()) < 0.35
        assert np.abs(out - centre * 0.5).max() < 1.3


def test_weights_sum_to_one():
    for ratio in (0.5, 0.913, 1.0001, 1.176, 2.0, 7.3):
        _, weight = weights(1000, 1100, ratio)
        assert weight.sum(1) == pytest.approx(1, abs=1e-6)


def test_outside_the_slide_is_white():
    assert (read_padded(SLIDE, 400, 320, 20, 20)[10:, 10:] == 255).all()
    assert (read_padded(SLIDE, -30, -30, 10, 10) == 255).all()
    assert (read_region(SLIDE, 300, 300, 40, 40, 1.826) == 255).all()


def test_sizes_that_hardly_differ_are_taken_as_they_are():
    assert pixel_ratio(0.2498, 0.25) == 1
    assert pixel_ratio(0.2125, 0.25) == pytest.approx(0.25 / 0.2125)

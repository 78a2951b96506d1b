"""The common form of slides: indexing, padding, failures, and the slides made from other slides."""

import numpy as np
import pytest

from stnuclei.errors import UserError
from stnuclei.slides.regions import read_padded
from stnuclei.slides.slide import Slide
from stnuclei.slides.wrappers import DamageTolerantSlide, ReducedSlide

PIXELS = np.random.default_rng(0).integers(0, 256, (41, 57, 3), np.uint8)


class MemorySlide(Slide):
    """Pixels in memory; reading a region that holds `bad` (y, x) raises `error`."""

    def __init__(self, pixels, path, bad=None, error=None):
        self.pixels, self.path, self.bad, self.error = pixels, path, bad, error
        self.levels, self.stated_um, self.info = (pixels.shape[:2],), {}, {}

    def _read(self, level, y0, y1, x0, x1):
        if self.bad and y0 <= self.bad[0] < y1 and x0 <= self.bad[1] < x1:
            raise self.error
        return self.pixels[y0:y1, x0:x1]


@pytest.mark.parametrize(
    "key",
    [
        np.s_[:],
        np.s_[3:9, 5:20],
        np.s_[3:9, 5:20, 1],
        np.s_[-5:, ::3],
        np.s_[30:4:-4, 50:2:-7],
        np.s_[7],
        np.s_[7, -2],
        np.s_[7, -2, 0],
        np.s_[..., 2],
        np.s_[4, ..., :2],
        np.s_[9:9, :],
        np.s_[100:200],
    ],
)
def test_a_slide_is_indexed_like_an_array(key, tmp_path):
    assert np.array_equal(MemorySlide(PIXELS, tmp_path)[key], PIXELS[key])


def test_outside_is_white_for_slides_and_arrays_alike(tmp_path):
    slide = MemorySlide(PIXELS, tmp_path)
    whole = np.full((80, 90, 3), 255, np.uint8)
    whole[10:51, 20:77] = PIXELS
    assert np.array_equal(slide.read(0, -10, 70, -20, 70), whole)
    for source in (slide, PIXELS):
        assert np.array_equal(read_padded(source, -20, -10, 90, 80), whole)
        assert (read_padded(source, 60, 50, 5, 4) == 255).all()


def test_only_a_decoder_is_answered_by_copying_the_slide_again(tmp_path):
    damaged = MemorySlide(PIXELS, tmp_path / "a.tif", (5, 5), ValueError("corrupt tile"))
    with pytest.raises(UserError, match=r"a\.tif: pixels at x 0-9, y 0-9 of level 0 cannot be decoded \(corrupt tile"):
        damaged.read(0, 0, 9, 0, 9)
    for mistake in (TypeError("a mistake of this program"), KeyError("level"), IndexError("level")):
        with pytest.raises(type(mistake)):
            MemorySlide(PIXELS, tmp_path / "a.tif", (5, 5), mistake).read(0, 0, 9, 0, 9)


def test_what_can_be_decoded_of_a_damaged_slide_is_kept(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 200, (1000, 900, 3), np.uint8)
    slide = DamageTolerantSlide(MemorySlide(pixels, tmp_path, (700, 100), OSError("truncated")))
    seen = slide.read(0, 0, 1000, 0, 900)
    white = (seen == 255).all(axis=2)
    assert white[700, 100] and 0 < white.sum() <= 256 * 256
    assert np.array_equal(seen[~white], pixels[~white])


def test_a_reduced_slide_holds_means_of_squares(tmp_path):
    reduced = ReducedSlide(MemorySlide(PIXELS, tmp_path), 4)
    assert reduced.shape == (10, 14, 3)
    expected = PIXELS[:40, :56].reshape(10, 4, 14, 4, 3).mean(axis=(1, 3))
    assert np.abs(reduced[:] - expected).max() <= 0.5

"""Slides made from other slides: a coarser one, and one that survives damaged tiles."""

from __future__ import annotations

import numpy as np

from stnuclei.errors import UserError
from stnuclei.slides.regions import block_mean, level_and_block
from stnuclei.slides.slide import WHITE, Slide

#: Side of the regions, px, below which a damaged one is not divided further: about a tile of a scanner's file.
_SMALLEST = 256


class ReducedSlide(Slide):
    """A slide whose pixels are means of `factor` x `factor` pixels of another.

    Parameters
    ----------
    slide
        The full slide; its nearest finer level is read.
    factor
        A whole number; rows and columns that fill no pixel are dropped.
    """

    def __init__(self, slide: Slide, factor: int) -> None:
        self._slide = slide
        self.path, self.stated_um, self.info = slide.path, {}, slide.info
        self._level, self._block = level_and_block(slide, factor)
        self.levels = ((slide.shape[0] // factor, slide.shape[1] // factor),)

    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        n = self._block
        pixels = self._slide.read(self._level, y0 * n, y1 * n, x0 * n, x1 * n)
        return np.rint(block_mean(pixels, n)).astype(np.uint8)


class DamageTolerantSlide(Slide):
    """Wraps a slide; regions that cannot be decoded are returned white.

    Parameters
    ----------
    slide
        A region of it that cannot be decoded is quartered until its sound quarters are read; the rest is white.
    """

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self.path, self.levels, self.stated_um, self.info = slide.path, slide.levels, slide.stated_um, slide.info

    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        try:
            return self._slide.read(level, y0, y1, x0, x1)
        except UserError:
            out = np.full((y1 - y0, x1 - x0, 3), WHITE, np.uint8)
            if max(out.shape[:2]) > _SMALLEST:
                for top, bottom in _halves(y0, y1):
                    for left, right in _halves(x0, x1):
                        quarter = self._read(level, top, bottom, left, right)
                        out[top - y0 : bottom - y0, left - x0 : right - x0] = quarter
            return out


def _halves(begin: int, end: int) -> list[tuple[int, int]]:
    middle = (begin + end + 1) // 2
    return [(begin, middle), (middle, end)] if end - begin > 1 else [(begin, end)]

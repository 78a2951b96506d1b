"""A slide seen at a coarser pixel."""

from __future__ import annotations

import numpy as np

from stnuclei.slides.slide import Slide


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
        self._slide, self._factor = slide, factor
        self.path, self.stated_um, self.info = slide.path, {}, slide.info
        self._level = slide.level_for(factor)
        self.levels = ((slide.shape[0] // factor, slide.shape[1] // factor),)

    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        step = max(round(self._factor / self._slide.downsample(self._level)), 1)
        block = self._slide.read(self._level, y0 * step, y1 * step, x0 * step, x1 * step)
        blocks = block.reshape(y1 - y0, step, x1 - x0, step, 3)
        return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)

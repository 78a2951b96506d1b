"""A slide whose undecodable places are white."""

from __future__ import annotations

import numpy as np

from stnuclei.errors import UserError
from stnuclei.slides import Slide
from stnuclei.slides.regions import WHITE

_SMALLEST = 256


class DamageTolerantSlide(Slide):
    """Another slide, but that no damaged tile stops the reading.

    Parameters
    ----------
    slide
        A region of it that cannot be decoded is quartered until its sound parts are found; the rest is white.
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
                for rows in _halves(y0, y1):
                    for columns in _halves(x0, x1):
                        part = self._read(level, *rows, *columns)
                        out[rows[0] - y0 : rows[1] - y0, columns[0] - x0 : columns[1] - x0] = part
            return out


def _halves(begin: int, end: int) -> list[tuple[int, int]]:
    middle = (begin + end + 1) // 2
    return [(begin, middle), (middle, end)] if end - begin > 1 else [(begin, end)]

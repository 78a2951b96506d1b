"""Vectors of nuclei from an encoder's grid of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numba
import numpy as np

#: ``box``: unweighted mean of the tokens that the nucleus' box touches, as CellViT++ takes them; ``centre``: the token
#: under the nucleus' centroid; ``nucleus``: mean of the tokens, each weighted by the nucleus' pixels in it.
TokenChoice = Literal["box", "centre", "nucleus"]
TOKEN_CHOICES: tuple[str, ...] = get_args(TokenChoice)


@dataclass(frozen=True)
class TokenGrid:
    """Tokens of one picture, and where the maps cut out of that picture lie in it.

    Parameters
    ----------
    values
        (h, w, D) float16 or float32, the encoder's last output.
    px
        Side of the square of the picture that a token stands for, px.
    offset
        Pixels of the picture left of and above the first pixel of the maps.
    """

    values: np.ndarray
    px: float
    offset: float = 0.0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.values.shape[2]

    def shifted(self, px: float) -> TokenGrid:
        """The same tokens for maps that begin `px` further left and above."""
        return TokenGrid(self.values, self.px, self.offset - px)


def nucleus_vectors(
    grid: TokenGrid,
    instances: np.ndarray,
    ids: np.ndarray,
    bbox: np.ndarray,
    centroid: np.ndarray,
    choice: TokenChoice = "nucleus",
) -> np.ndarray:
    """One vector a nucleus.

    Parameters
    ----------
    grid
        Tokens of the picture.
    instances
        (H, W) integers, label map of the maps' frame.
    ids
        (n,) ids of the nuclei in it.
    bbox
        (n, 4) int x0, y0, x1, y1, ends exclusive.
    centroid
        (n, 2) (x, y) px, pixel 0 having its centre at 0.
    choice
        See `TokenChoice`.

    Returns
    -------
    (n, D) float32. A nucleus that reaches over the picture's edge has the tokens of what lies inside, one that lies
    outside of it the nearest token.
    """
    vectors = np.zeros((len(ids), grid.dim), np.float32)
    if not len(ids):
        return vectors
    height, width = grid.values.shape[:2]
    if choice == "centre":
        at = np.floor((np.asarray(centroid, np.float64) + 0.5 + grid.offset) / grid.px).astype(np.int64)
        return grid.values[at[:, 1].clip(0, height - 1), at[:, 0].clip(0, width - 1)].astype(np.float32)
    moved = np.asarray(bbox, np.float64) + grid.offset
    first = np.floor(moved[:, :2] / grid.px).astype(np.int64)
    last = np.ceil(moved[:, 2:] / grid.px).astype(np.int64)
    ends = np.array([width, height])
    first = first.clip(0, ends - 1)
    last = np.maximum(last.clip(1, ends), first + 1)
    values = grid.values.astype(np.float32)  # numba knows no float16 on a CPU
    if choice == "box":
        _box_means(values, first, last, vectors)
    else:
        boxes, tokens = np.asarray(bbox, np.int64), np.hstack([first, last])
        _weighted_means(values, np.asarray(instances), np.asarray(ids), boxes, tokens, (grid.px, grid.offset), vectors)
    return vectors


@numba.njit(cache=True, nogil=True)
def _box_means(values: np.ndarray, first: np.ndarray, last: np.ndarray, out: np.ndarray) -> None:
    for k in range(len(out)):
        for row in range(first[k, 1], last[k, 1]):
            for column in range(first[k, 0], last[k, 0]):
                out[k] += values[row, column]
        out[k] /= (last[k, 0] - first[k, 0]) * (last[k, 1] - first[k, 1])


@numba.njit(cache=True, nogil=True)
def _weighted_means(
    values: np.ndarray,
    instances: np.ndarray,
    ids: np.ndarray,
    boxes: np.ndarray,
    tokens: np.ndarray,
    size: tuple[float, float],
    out: np.ndarray,
) -> None:
    """Means of the tokens (n, 4) x0, y0, x1, y1 of each nucleus; `size`: side of a token and offset, px."""
    px, offset = size
    for k in range(len(out)):
        x0, y0, x1, y1 = tokens[k]
        counts = np.zeros((y1 - y0, x1 - x0), np.int64)
        for y in range(boxes[k, 1], boxes[k, 3]):
            for x in range(boxes[k, 0], boxes[k, 2]):
                if instances[y, x] == ids[k]:
                    # The middle of the pixel says which token it belongs to.
                    row = int(np.floor((y + 0.5 + offset) / px)) - y0
                    column = int(np.floor((x + 0.5 + offset) / px)) - x0
                    if 0 <= row < counts.shape[0] and 0 <= column < counts.shape[1]:
                        counts[row, column] += 1
        total = counts.sum()
        if total == 0:
            counts[0, 0] = total = 1
        for row in range(counts.shape[0]):
            for column in range(counts.shape[1]):
                if counts[row, column]:
                    out[k] += values[y0 + row, x0 + column] * np.float32(counts[row, column] / total)

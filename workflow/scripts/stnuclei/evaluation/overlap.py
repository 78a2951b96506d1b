"""Overlaps of the nuclei of two label maps, from one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numba
import numpy as np

from stnuclei.cellvit.components import borders_of, list_borders

_DENSE = 1 << 22  # entries of the table of all pairs up to which it is laid out


@dataclass(frozen=True)
class Overlap:
    """Joint histogram of two label maps, background left out of pairs and lists.

    Parameters
    ----------
    true_ids, pred_ids
        (T,) and (P,) int64: the ids that occur, ascending.
    true_area, pred_area
        (T,) and (P,) int64 px.
    true_row, pred_row, pixels
        (K,) int64: overlapping pairs as indices into the lists, with the pixels they share.
    """

    true_ids: np.ndarray
    pred_ids: np.ndarray
    true_area: np.ndarray
    pred_area: np.ndarray
    true_row: np.ndarray
    pred_row: np.ndarray
    pixels: np.ndarray

    @cached_property
    def iou(self) -> np.ndarray:
        """(K,) float64 intersection over union of each pair."""
        return _iou(self.true_area, self.pred_area, self.true_row, self.pred_row, self.pixels)

    def keep(self, true: np.ndarray | None = None, pred: np.ndarray | None = None) -> Overlap:
        """The same with some nuclei only; `true` (T,) and `pred` (P,) bool, None keeps all."""
        true = np.ones(len(self.true_ids), bool) if true is None else true
        pred = np.ones(len(self.pred_ids), bool) if pred is None else pred
        pairs = true[self.true_row] & pred[self.pred_row]
        return replace(
            self,
            true_ids=self.true_ids[true],
            pred_ids=self.pred_ids[pred],
            true_area=self.true_area[true],
            pred_area=self.pred_area[pred],
            true_row=(np.cumsum(true) - 1)[self.true_row[pairs]],
            pred_row=(np.cumsum(pred) - 1)[self.pred_row[pairs]],
            pixels=self.pixels[pairs],
        )


def joint_histogram(true: np.ndarray, pred: np.ndarray) -> Overlap:
    """Count the pixels of every pair of ids.

    Parameters
    ----------
    true, pred
        (H, W) integers of one shape, 0 background; any ids from 0 up.

    Raises
    ------
    ValueError
        If the shapes differ or an id is negative.
    """
    true, pred = np.asarray(true), np.asarray(pred)
    if true.shape != pred.shape:
        raise ValueError(f"label maps must have one shape, not {true.shape} and {pred.shape}")
    lowest, rows, columns = _bounds(true, pred)
    if lowest < 0:
        raise ValueError("label maps must not hold negative ids")
    if rows * columns <= _DENSE:
        return Overlap(*_from_table(true, pred, rows, columns))
    return _from_sorted(true, pred)


@numba.njit(cache=True, nogil=True)
def _bounds(true: np.ndarray, pred: np.ndarray) -> tuple[int, int, int]:
    """Smallest id of both maps, or 0; one more than the largest of each."""
    true_low = true_high = true.dtype.type(0)
    pred_low = pred_high = pred.dtype.type(0)
    for y in range(true.shape[0]):
        for x in range(true.shape[1]):
            true_low, true_high = min(true_low, true[y, x]), max(true_high, true[y, x])
        for x in range(true.shape[1]):
            pred_low, pred_high = min(pred_low, pred[y, x]), max(pred_high, pred[y, x])
    return min(int(true_low), int(pred_low)), int(true_high) + 1, int(pred_high) + 1


@numba.njit(cache=True, nogil=True)
def _count(true: np.ndarray, pred: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pixels of each pair of ids: (rows, columns) int64."""
    table = np.zeros((rows, columns), np.int64)
    width = true.shape[1]
    border, ends = borders_of(width), np.empty(width + 8, np.int32)
    for y in range(true.shape[0] if width else 0):
        for x in range(1, width):
            border[x] = (true[y, x] != true[y, x - 1]) | (pred[y, x] != pred[y, x - 1])
        start = 0
        # A stretch of one pair at a time: counts added pixel by pixel would wait for one another.
        for i in range(list_borders(border, ends)):
            table[true[y, start], pred[y, start]] += ends[i] - start
            start = ends[i]
    return table


@numba.njit(cache=True, nogil=True)
def _from_table(true: np.ndarray, pred: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, ...]:
    """Fields of an `Overlap` of ids below `rows` and `columns`; one call, as NumPy's dozen would cost more."""
    table = _count(true, pred, rows, columns)
    true_total, pred_total = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    pairs = 0
    for i in range(rows):
        for j in range(columns):
            true_total[i] += table[i, j]
            pred_total[j] += table[i, j]
            pairs += i > 0 and j > 0 and table[i, j] > 0
    true_total[0] = pred_total[0] = 0
    true_ids, pred_ids = np.flatnonzero(true_total), np.flatnonzero(pred_total)
    true_row, pred_row, pixels = np.empty(pairs, np.int64), np.empty(pairs, np.int64), np.empty(pairs, np.int64)
    n = 0
    for row, true_id in enumerate(true_ids):
        for column, pred_id in enumerate(pred_ids):
            if table[true_id, pred_id]:
                true_row[n], pred_row[n], pixels[n] = row, column, table[true_id, pred_id]
                n += 1
    return true_ids, pred_ids, true_total[true_ids], pred_total[pred_ids], true_row, pred_row, pixels


@numba.njit(cache=True, nogil=True)
def _iou(
    true_area: np.ndarray, pred_area: np.ndarray, true_row: np.ndarray, pred_row: np.ndarray, pixels: np.ndarray
) -> np.ndarray:
    return pixels / (true_area[true_row] + pred_area[pred_row] - pixels)


def _from_sorted(true: np.ndarray, pred: np.ndarray) -> Overlap:
    """The same for many nuclei: unique ids and pairs by sorting, memory by pixel."""
    true_ids, true_index, true_area = np.unique(true, return_inverse=True, return_counts=True)
    pred_ids, pred_index, pred_area = np.unique(pred, return_inverse=True, return_counts=True)
    keys, pixels = np.unique(true_index.ravel() * len(pred_ids) + pred_index.ravel(), return_counts=True)
    whole = Overlap(true_ids, pred_ids, true_area, pred_area, keys // len(pred_ids), keys % len(pred_ids), pixels)
    return whole.keep(true_ids > 0, pred_ids > 0)

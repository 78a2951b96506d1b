"""Overlaps of the nuclei of two label maps, from one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np

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

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64 intersection over union of each pair."""
        union = self.true_area[self.true_row] + self.pred_area[self.pred_row] - self.pixels
        return self.pixels / union

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
    if true.size and min(true.min(), pred.min()) < 0:
        raise ValueError("label maps must not hold negative ids")
    rows, columns = int(true.max(initial=0)) + 1, int(pred.max(initial=0)) + 1
    if rows * columns <= _DENSE:
        return _from_table(_count(true, pred, rows, columns), np.arange(rows), np.arange(columns))
    return _from_sorted(true, pred)


@numba.njit(cache=True, nogil=True)
def _count(true: np.ndarray, pred: np.ndarray, rows: int, columns: int) -> np.ndarray:
    table = np.zeros((rows, columns), np.int64)
    for y in range(true.shape[0]):
        for x in range(true.shape[1]):
            table[true[y, x], pred[y, x]] += 1
    return table


def _from_table(table: np.ndarray, true_ids: np.ndarray, pred_ids: np.ndarray) -> Overlap:
    true_area, pred_area = table.sum(1), table.sum(0)
    true_found, pred_found = true_area > 0, pred_area > 0
    true_found[0] = pred_found[0] = False
    inner = table[true_found][:, pred_found]
    true_row, pred_row = np.nonzero(inner)
    areas = true_area[true_found], pred_area[pred_found]
    return Overlap(true_ids[true_found], pred_ids[pred_found], *areas, true_row, pred_row, inner[true_row, pred_row])


def _from_sorted(true: np.ndarray, pred: np.ndarray) -> Overlap:
    """The same for many nuclei: unique ids and pairs by sorting, memory by pixel."""
    true_ids, true_index, true_area = np.unique(true, return_inverse=True, return_counts=True)
    pred_ids, pred_index, pred_area = np.unique(pred, return_inverse=True, return_counts=True)
    keys, pixels = np.unique(true_index.ravel() * len(pred_ids) + pred_index.ravel(), return_counts=True)
    whole = Overlap(true_ids, pred_ids, true_area, pred_area, keys // len(pred_ids), keys % len(pred_ids), pixels)
    return whole.keep(true_ids > 0, pred_ids > 0)

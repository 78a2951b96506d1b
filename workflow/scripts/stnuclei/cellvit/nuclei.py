"""The nuclei of a label map as a table: class by majority, probability, centroid, box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba.extending import overload

from stnuclei.cellvit.components import list_runs

_NONE = 1 << 30
#: Value of every float16, by its bits: only nuclei's pixels are looked up, no map is converted.
_HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


@dataclass(frozen=True)
class Shapes:
    """Shapes of M nuclei of one label map, row k - 1 being the nucleus of id k where ids are 1..M.

    Parameters
    ----------
    id
        (M,) int32, the id in the label map.
    area
        (M,) int32 px.
    bbox
        (M, 4) int32 x0, y0, x1, y1, ends exclusive.
    centroid
        (M, 2) float32 (x, y) px, mean of pixel centres where pixel 0 has its centre at 0.
    """

    id: np.ndarray
    area: np.ndarray
    bbox: np.ndarray
    centroid: np.ndarray

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class NucleiTable(Shapes):
    """Shapes of M nuclei and their classes.

    Parameters
    ----------
    id, area, bbox, centroid
        As in `Shapes`.
    class_id
        (M,) int8: the most frequent class of its pixels, background only where there is no other; ties go to the
        smaller id. 0: every pixel is background.
    class_probability
        (M,) float32: share of its pixels that have the class.
    class_probabilities
        (M, C) float32: mean probability of each class over its pixels, background included (shares of pixels where
        only a type map was given).
    """

    class_id: np.ndarray
    class_probability: np.ndarray
    class_probabilities: np.ndarray


def measure(instances: np.ndarray) -> Shapes:
    """Ids, areas, boxes and centroids of the nuclei of a label map (H, W), in the order of ids."""
    size = int(instances.max(initial=0)) + 1
    box, sums = np.empty((size, 5), np.int32), np.zeros((size, 2), np.float64)
    _measure_shapes(instances, box, sums)
    return Shapes(*_shapes(box, sums))


@numba.njit(cache=True, nogil=True)
def _shapes(box: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fields of `Shapes`."""
    ids = np.flatnonzero(box[:, 4])
    kept = box[ids]
    centroid = np.empty((ids.size, 2), np.float32)
    for row in range(ids.size):
        centroid[row, 0], centroid[row, 1] = sums[ids[row], 0] / kept[row, 4], sums[ids[row], 1] / kept[row, 4]
    return ids.astype(np.int32), kept[:, 4].copy(), kept[:, :4].copy(), centroid


def nuclei_table(instances: np.ndarray, types: np.ndarray, n_classes: int | None = None) -> NucleiTable:
    """Measure every nucleus in one pass over the pixels.

    Parameters
    ----------
    instances
        (H, W) integers, 0 background.
    types
        (C, H, W) float: probability of each class, channel 0 the background; or (H, W) integers: the class of each
        pixel, as the network's highest channel gives it.
    n_classes
        C where `types` is a map (default: its largest class + 1).

    Returns
    -------
    One row a nucleus in the order of ids.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if types.shape[-2:] != instances.shape or types.ndim not in (2, 3):
        raise ValueError(f"types must be (H, W) or (C, H, W) with (H, W) = {instances.shape}, not {types.shape}")
    size = int(instances.max(initial=0)) + 1
    box, sums = np.empty((size, 5), np.int32), np.zeros((size, 2), np.float64)
    if types.ndim == 3:
        votes, share = np.zeros((2, size, len(types)))
        if types.dtype == np.float16:
            _measure_probabilities(
                instances, np.ascontiguousarray(types).view(np.uint16), _HALVES, box, sums, votes, share
            )
        else:
            _measure_probabilities(instances, np.ascontiguousarray(types, np.float32), _HALVES, box, sums, votes, share)
    else:
        votes = np.zeros((size, n_classes or int(types.max(initial=0)) + 1))
        _measure_map(instances, types, box, sums, votes)
        share = votes
    return NucleiTable(*_shapes(box, sums), *_classes(box[:, 4], votes, share))


@numba.njit(cache=True, nogil=True)
def _classes(area: np.ndarray, votes: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class fields of a `NucleiTable`; one call, as NumPy's two dozen would cost a patch more than its pixels."""
    ids, classes = np.flatnonzero(area), votes.shape[1]
    chosen, probability = np.empty(ids.size, np.int8), np.empty(ids.size, np.float32)
    means = np.empty((ids.size, classes), np.float32)
    for row, k in enumerate(ids):
        best = votes[k].argmax()
        if best == 0 and classes > 1:
            other = votes[k, 1:].argmax() + 1
            best = other if votes[k, other] > 0 else 0
        chosen[row], probability[row] = best, votes[k, best] / area[k]
        for c in range(classes):
            means[row, c] = share[k, c] / area[k]
    return chosen, probability, means


@numba.njit(cache=True, nogil=True)
def _clear(box: np.ndarray) -> None:
    """Boxes of nothing; compiled once, not once a type of label maps."""
    box[:, :2] = _NONE
    box[:, 2:] = 0


@numba.njit(cache=True, nogil=True)
def _measure_shapes(instances: np.ndarray, box: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Fill boxes with areas and coordinate sums of every id; the runs of the map, see `list_runs`."""
    _clear(box)
    runs = list_runs(instances)
    for y, start, end in runs:
        k = instances[y, start]
        box[k, 0], box[k, 1] = min(box[k, 0], start), min(box[k, 1], y)
        box[k, 2], box[k, 3] = max(box[k, 2], end), y + 1
        box[k, 4] += end - start
        sums[k, 0] += np.int64(end - start) * (start + end - 1) // 2
        sums[k, 1] += np.int64(end - start) * y
    return runs


@numba.njit(cache=True, nogil=True)
def _measure_map(
    instances: np.ndarray, types: np.ndarray, box: np.ndarray, sums: np.ndarray, votes: np.ndarray
) -> None:
    for y, start, end in _measure_shapes(instances, box, sums):
        k = instances[y, start]
        first = start
        # A stretch of one class at a time: counts added pixel by pixel would wait for one another.
        for x in range(start + 1, end):
            if types[y, x] != types[y, first]:
                votes[k, types[y, first]] += x - first
                first = x
        votes[k, types[y, first]] += end - first


def _value(probability: Any, halves: Any) -> Any:
    """Probability given as float32, or as the bits of a float16; compiled by what is given."""
    return halves[probability] if isinstance(probability, np.integer) else probability


@overload(_value, inline="always")
def _compile_value(probability: Any, halves: Any) -> Any:
    def look_up(probability: Any, halves: Any) -> Any:
        return halves[probability]

    def take(probability: Any, halves: Any) -> Any:
        return probability

    return look_up if isinstance(probability, numba.types.Integer) else take


@numba.njit(cache=True, nogil=True)
def _measure_probabilities(
    instances: np.ndarray,
    probabilities: np.ndarray,
    halves: np.ndarray,
    box: np.ndarray,
    sums: np.ndarray,
    votes: np.ndarray,
    share: np.ndarray,
) -> None:
    for y, start, end in _measure_shapes(instances, box, sums):
        k = instances[y, start]
        for x in range(start, end):
            best, highest = 0, _value(probabilities[0, y, x], halves)
            for c in range(probabilities.shape[0]):
                value = _value(probabilities[c, y, x], halves)
                share[k, c] += value
                if value > highest:
                    best, highest = c, value
            votes[k, best] += 1

"""Overlaps of paired outlines of two files, however the pairs lie in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import shapely

from stnuclei.io.boundaries import NucleusBoundaries, from_wkb
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.io.row_parts import RowParts

#: Pairs whose outlines are polygons at once: with their intersections some 100 MB.
_PAIRS = 1 << 15
_SCHEMA = pa.schema([("pair", pa.int64()), ("geometry", pa.binary())])


def pair_overlaps(nuclei: NucleiFile, boundaries: NucleusBoundaries, pairs: np.ndarray) -> np.ndarray:
    """Intersection over union of paired nuclei.

    Each file is read once and its outlines are dealt by pair to temporary files (220 bytes an outline), so that memory
    grows neither with the nuclei nor with how differently the two are ordered.

    Parameters
    ----------
    nuclei
        Predicted nuclei.
    boundaries
        Nuclei of the run.
    pairs
        (K, 2) int64: rows of `boundaries` and of `nuclei`, each at most once.

    Returns
    -------
    (K,) float64.
    """
    iou = np.zeros(len(pairs))
    with TemporaryDirectory(prefix="stnuclei-pairs-") as name:
        true = _by_pair((batch for _, batch in boundaries.batches(["geometry"])), pairs[:, 0], Path(name, "true"))
        predicted = _by_pair(nuclei.arrow_batches(["geometry"]), pairs[:, 1], Path(name, "predicted"))
        for part, begin in enumerate(range(0, len(pairs), _PAIRS)):
            iou[begin : begin + _PAIRS] = _iou(_outlines(predicted, part), _outlines(true, part))
    return iou


def _by_pair(batches: Iterable[pa.RecordBatch], rows: np.ndarray, folder: Path) -> RowParts:
    """Deal the outlines of a file to parts of pairs; `rows` (K,) are the pairs' rows in it."""
    folder.mkdir()
    order = np.argsort(rows, kind="stable")
    rows, begin = rows[order], 0
    with RowParts(folder, _SCHEMA) as parts:
        for batch in batches:
            first, last = np.searchsorted(rows, (begin, begin + len(batch)))
            pair, chosen = order[first:last], batch["geometry"].take(pa.array(rows[first:last] - begin))
            begin += len(batch)
            parts.deal(pa.record_batch([pa.array(pair), chosen.cast(pa.binary())], schema=_SCHEMA), pair // _PAIRS)
    return parts


def _outlines(parts: RowParts, part: int) -> np.ndarray:
    """Polygons of a part's pairs, in their order, valid."""
    rows = parts.read(part).sort_by("pair")
    return np.asarray(shapely.make_valid(from_wkb(rows["geometry"])))


def _iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    shared = shapely.area(shapely.intersection(one, other))
    union = shapely.area(one) + shapely.area(other) - shared
    return np.asarray(shared / np.maximum(union, 1e-9))

"""Nuclei of a slide by bands, rows of blocks: outlines of one band at a time are in memory, those of others on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.row_parts import RowParts
from stnuclei.patches.raster import Outlines

#: A ring is x, y, x, y, ...
_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("cell", pa.int32()),
        ("area", pa.float64()),
        ("rings", pa.large_list(pa.large_list(pa.float64()))),
    ]
)


@dataclass(frozen=True)
class BandNuclei:
    """Nuclei that meet a band, in the order of the sample's.

    Parameters
    ----------
    row
        int32 (K,): row of the sample's nuclei.
    cell
        int32 (K,): row of the table, -1 where the nucleus has no cell.
    outlines
        The K outlines, patch_px.
    """

    row: np.ndarray
    cell: np.ndarray
    outlines: Outlines


class NucleusBands:
    """Nuclei dealt to bands; one that reaches over a band's edge is in both.

    Parameters
    ----------
    edges
        (B, 2): top and bottom of each band, patch_px.
    folder
        Holds the outlines meanwhile, 250 bytes a nucleus.
    """

    def __init__(self, edges: np.ndarray, folder: Path) -> None:
        self._edges = edges
        self._parts = RowParts(folder, _SCHEMA)

    def deal(
        self, boundaries: NucleusBoundaries, matrix: np.ndarray, cell_of: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Deal all nuclei.

        Parameters
        ----------
        boundaries
            The nuclei, he_px.
        matrix
            (3, 3) from he_px to patch_px.
        cell_of
            int32 (N,): row of the table for each nucleus, -1 none.

        Yields
        ------
        Piece by piece the row of its first nucleus and their boxes (n, 4), patch_px, NaN without outline.
        """
        with self._parts as parts:
            for first, polygons in boundaries.polygons():
                outlines = Outlines.of(polygons, matrix)
                rows = _packed(outlines, first, cell_of)
                _, top, _, bottom = outlines.bounds.T
                for band, (y0, y1) in enumerate(self._edges):
                    met = np.flatnonzero((bottom > y0) & (top < y1))
                    if len(met):
                        parts.add(band, rows.take(pa.array(met)))
                yield first, outlines.bounds

    def read(self, band: int) -> BandNuclei:
        """Nuclei of a band, the first being 0."""
        rows = self._parts.read(band).combine_chunks()
        nuclei, coordinates = _offsets_and_values(rows["rings"])
        rings, xy = _offsets_and_values(coordinates)
        outlines = Outlines.from_rings(xy.to_numpy().reshape(-1, 2), rings // 2, nuclei, rows["area"].to_numpy())
        return BandNuclei(rows["row"].to_numpy(), rows["cell"].to_numpy(), outlines)


def _packed(outlines: Outlines, first: int, cell_of: np.ndarray) -> pa.RecordBatch:
    """Outlines as rows of `_SCHEMA`; `first` is the row of the first in the sample."""
    rings = pa.LargeListArray.from_arrays(pa.array(2 * outlines.ring_first), pa.array(outlines.xy.ravel()))
    columns = [
        pa.array(np.arange(first, first + len(outlines), dtype=np.int32)),
        pa.array(cell_of[first : first + len(outlines)]),
        pa.array(outlines.area),
        pa.LargeListArray.from_arrays(pa.array(outlines.nucleus_first), rings),
    ]
    return pa.record_batch(columns, schema=_SCHEMA)


def _offsets_and_values(lists: pa.ChunkedArray | pa.LargeListArray) -> tuple[np.ndarray, pa.Array]:
    """First item of each list and the end, int64 (n + 1,), and the items of all."""
    whole = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return whole.offsets.to_numpy(), whole.values

"""Nuclei on the borders of tiles: each kept exactly once, row by row and strip by strip.

Tiles share one set of maps and own the nuclei whose middle lies in their core, so a nucleus on a border is found twice
or more, alike, and owned once. Only where a clump is so large that a window does not show all of it can two windows cut
it differently; then a copy that no tile owns is kept where no owned nucleus covers it, and one of two that cover each
other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from stnuclei.io.nuclei_file import NucleiWriter
from stnuclei.prediction.nuclei_arrays import NucleiArrays
from stnuclei.prediction.partial_results import PartialResults
from stnuclei.prediction.sweep import MERGING, Row
from stnuclei.prediction.tiles import NEAR, Strip, TileGrid
from stnuclei.progress import StageTimer

#: Column of a partial result with the state of a nucleus: final, waiting for the row below, waiting for the next strip.
STATE = ".state"
FINAL, NEXT_ROW, NEXT_STRIP = 0, 1, 2
#: Two nuclei that share more than this fraction of the smaller one are the same.
SAME = 0.5


def merge(nuclei: NucleiArrays) -> NucleiArrays:
    """Keep each nucleus once.

    Parameters
    ----------
    nuclei
        Of all tiles along a border: owned ones and copies, in any order.

    Returns
    -------
    Those kept, ordered by the top and left of their boxes; the result does not depend on the order given.
    """
    if not len(nuclei):
        return nuclei
    left, top, right, bottom = nuclei.bbox.T
    order = np.lexsort((bottom, right, left, top, -nuclei.area, ~nuclei.owned))
    nuclei = nuclei.take(order)
    nuclei = nuclei.take(_first_of_equals(nuclei))
    nuclei = nuclei.take(_not_covered(nuclei))
    return nuclei.take(np.lexsort((nuclei.bbox[:, 0], nuclei.bbox[:, 1])))


def _first_of_equals(nuclei: NucleiArrays) -> np.ndarray:
    """Rows of the first among nuclei with the same box and area: the same pixels, found from several tiles."""
    keys = np.column_stack([nuclei.bbox, nuclei.area])
    return np.sort(np.unique(keys, axis=0, return_index=True)[1])


def _not_covered(nuclei: NucleiArrays) -> np.ndarray:
    """Rows that no earlier kept row covers; (n,) bool."""
    first, second = shapely.STRtree(nuclei.geometry).query(nuclei.geometry, predicate="intersects")
    before = first < second
    first, second = first[before], second[before]
    shared = shapely.area(shapely.intersection(nuclei.geometry[first], nuclei.geometry[second]))
    size = shapely.area(nuclei.geometry)
    same = shared > SAME * np.minimum(size[first], size[second])
    keep = np.ones(len(nuclei), bool)
    by_row = np.lexsort((second[same], first[same]))
    for row, later in zip(first[same][by_row].tolist(), second[same][by_row].tolist(), strict=True):
        if keep[row]:
            keep[later] = False
    return keep


class RowMerger:
    """Merges the rows of a strip one after another.

    Parameters
    ----------
    grid, strip
        Position of the rows.
    waiting
        Nuclei on the lower border of the row before.
    """

    def __init__(self, grid: TileGrid, strip: Strip, waiting: NucleiArrays) -> None:
        self.grid, self.strip, self.waiting = grid, strip, waiting

    def add(self, row: Row) -> list[NucleiArrays]:
        """Nuclei that are now final, those that wait for the row below, those that wait for the next strip."""
        nuclei = NucleiArrays.concat([self.waiting, *row.nuclei])
        border = nuclei.crossing
        left, _, right, bottom = nuclei.bbox.T
        core, strip = self.grid.core, self.strip
        below = border & (bottom > (row.number + 1) * core - NEAR) & (row.number + 1 < self.grid.rows)
        beside = border & ~below & (strip.begin > 0) & (left < strip.begin * core + NEAR)
        beside |= border & ~below & (strip.end < self.grid.columns) & (right > strip.end * core - NEAR)
        merged = merge(nuclei.take(border & ~below & ~beside))
        final = NucleiArrays.concat([nuclei.take(~border), merged])
        self.waiting = nuclei.take(below)
        return [final.take(self._order(final)), self.waiting, nuclei.take(beside)]

    def _order(self, nuclei: NucleiArrays) -> np.ndarray:
        """Order by tile, in each from top to bottom: readers of a region then read neighbouring rows of the file."""
        left, top, right, bottom = nuclei.bbox.T
        return np.lexsort((bottom, right, left, top, (left + right) // 2 // self.grid.core))


def merge_rows(
    rows: Iterable[Row], partial: PartialResults, grid: TileGrid, strip: Strip, classes: list[str], timer: StageTimer
) -> Iterator[int]:
    """Merge rows as they come and keep each as a partial result; yields the number of nuclei that became final."""
    first = partial.finished(strip.number)
    waiting = NucleiArrays.none(len(classes))
    if first:
        table, _ = partial.read(strip.number, first - 1)
        waiting = NucleiArrays.from_arrow(_in_state(table, NEXT_ROW), classes)
    merger = RowMerger(grid, strip, waiting)
    for row in rows:
        with timer.of(MERGING):
            states = merger.add(row)
            tables = [
                nuclei.to_arrow(classes).append_column(STATE, pa.array(np.full(len(nuclei), state, np.int8)))
                for state, nuclei in enumerate(states)
            ]
            info = {"tiles": row.tiles, "tiles_damaged": row.damaged}
            partial.write(strip.number, row.number, pa.concat_tables(tables), info)
        yield len(states[FINAL])


def assemble(partial: PartialResults, writer: NucleiWriter, classes: list[str]) -> dict[str, Any]:
    """Write the partial results' nuclei into the file, then those between strips; sums of their counts."""
    counts: dict[str, Any] = {}
    between = [NucleiArrays.none(len(classes))]
    for table, info in partial.all():
        counts = {key: counts.get(key, 0) + info.get(key, 0) for key in {**counts, **info}}
        if STATE in table.column_names:
            between.append(NucleiArrays.from_arrow(_in_state(table, NEXT_STRIP), classes))
            table = _in_state(table, FINAL)
        writer.write(table)
    last = merge(NucleiArrays.concat(between))
    writer.write(last.to_arrow(classes) if len(last) else pa.table({}))
    return {"nuclei": writer.nuclei, "by_class": writer.by_class, **counts}


def _in_state(table: pa.Table, state: int) -> pa.Table:
    return table.filter(pc.equal(table[STATE], state))

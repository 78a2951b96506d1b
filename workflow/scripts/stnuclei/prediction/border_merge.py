"""Rows of cells joined: nuclei on borders kept once, finished rows put aside, the file assembled from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stnuclei.io.nuclei_file import NucleiWriter
from stnuclei.prediction.merge import NEAR, merge
from stnuclei.prediction.nuclei_arrays import FoundNuclei
from stnuclei.prediction.partial_results import Parts
from stnuclei.prediction.sweep import Row
from stnuclei.prediction.tiles import Strip, TileGrid
from stnuclei.prediction.timing import MERGING, Stages

#: Column of a part that says what becomes of a nucleus: it is final; it waits for the row below; for the next strip.
STATE = ".state"
FINAL, BELOW, BESIDE = 0, 1, 2


class RowJoiner:
    """Takes the rows of a strip one after another.

    Parameters
    ----------
    grid, strip
        Where the rows lie.
    waiting
        Nuclei on the lower border of the row before.
    """

    def __init__(self, grid: TileGrid, strip: Strip, waiting: FoundNuclei) -> None:
        self.grid, self.strip, self.waiting = grid, strip, waiting

    def add(self, row: Row) -> list[FoundNuclei]:
        """Nuclei that are now final, those that wait for the row below, those that wait for the next strip."""
        found = FoundNuclei.concat([self.waiting, *row.nuclei])
        border = found.crossing
        left, _, right, bottom = found.bbox.T
        core, strip = self.grid.core, self.strip
        below = border & (bottom > (row.number + 1) * core - NEAR) & (row.number + 1 < self.grid.rows)
        beside = border & ~below & (strip.begin > 0) & (left < strip.begin * core + NEAR)
        beside |= border & ~below & (strip.end < self.grid.columns) & (right > strip.end * core - NEAR)
        merged = merge(found.take(border & ~below & ~beside))
        final = FoundNuclei.concat([found.take(~border), merged])
        self.waiting = found.take(below)
        return [final.take(self._order(final)), self.waiting, found.take(beside)]

    def _order(self, nuclei: FoundNuclei) -> np.ndarray:
        """Cell by cell, in each from top to bottom: what lies together is read together."""
        left, top, right, bottom = nuclei.bbox.T
        return np.lexsort((bottom, right, left, top, (left + right) // 2 // self.grid.core))


def join_rows(
    rows: Iterable[Row], parts: Parts, grid: TileGrid, strip: Strip, classes: list[str], stages: Stages
) -> Iterator[int]:
    """Join rows that come, put each aside; yields how many nuclei became final."""
    first = parts.finished(strip.number)
    waiting = FoundNuclei.none(len(classes))
    if first:
        table, _ = parts.read(strip.number, first - 1)
        waiting = FoundNuclei.from_arrow(_in_state(table, BELOW), classes)
    joiner = RowJoiner(grid, strip, waiting)
    for row in rows:
        with stages.of(MERGING):
            states = joiner.add(row)
            tables = [
                nuclei.to_arrow(classes).append_column(STATE, pa.array(np.full(len(nuclei), state, np.int8)))
                for state, nuclei in enumerate(states)
            ]
            info = {"tiles": row.tiles, "tiles_damaged": row.damaged}
            parts.write(strip.number, row.number, pa.concat_tables(tables), info)
        yield len(states[FINAL])


def assemble(parts: Parts, writer: NucleiWriter, classes: list[str]) -> dict[str, Any]:
    """Write the parts' nuclei into the file, then those between strips; sums of the parts' counts."""
    counts: dict[str, Any] = {}
    beside = [FoundNuclei.none(len(classes))]
    for table, info in parts.all():
        counts = {key: counts.get(key, 0) + info.get(key, 0) for key in {**counts, **info}}
        if STATE in table.column_names:
            beside.append(FoundNuclei.from_arrow(_in_state(table, BESIDE), classes))
            table = _in_state(table, FINAL)
        writer.write(table)
    last = merge(FoundNuclei.concat(beside))
    writer.write(last.to_arrow(classes) if len(last) else pa.table({}))
    return {"nuclei": writer.nuclei, "by_class": writer.by_class, **counts}


def _in_state(table: pa.Table, state: int) -> pa.Table:
    return table.filter(pc.equal(table[STATE], state))

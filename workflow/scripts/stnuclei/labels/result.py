"""`Labels`, the result of a labelling method: a label per cell and the evidence per cluster; reading and writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.tables import read_table, write_table

# Metadata of the parquet file: what a report says of the label set.
INFO_KEY = b"stnuclei_info"
CELL_COLUMNS = ("cell_id", "label", "confidence", "cluster", "alternatives")


@dataclass(frozen=True)
class Labels:
    """Labels of one sample by one method.

    Parameters
    ----------
    cells
        One row a cell in the table's order: cell_id (str), label (str), confidence (float32, 0..1), cluster (int32,
        -1 for a cell in none), alternatives (str: empty, or the classes among which the method could not decide, joined
        by ``|``; the label is the most probable of them).
    evidence
        One row a cluster: cluster, n_cells, top_genes, one ``score_<Category>`` column a category, marker_set,
        cancer_ratio, decision, why; methods may add columns.
    info
        Counts, settings and warnings; `save` keeps the sentences ``counts`` and ``warnings`` with the cells.
    """

    cells: pd.DataFrame
    evidence: pd.DataFrame
    info: dict[str, Any] = field(default_factory=dict)

    def save(self, cells: str | Path, evidence: str | Path | None = None) -> None:
        """Write the cells as parquet and the evidence as tsv (lists joined by commas)."""
        write_table(with_info(self.cells, self.info), cells)
        if evidence is not None:
            with atomic_write(evidence) as path:
                self.evidence.to_csv(path, sep="\t", index=False, float_format="%.6g", lineterminator="\n")

    @classmethod
    def load(cls, cells: str | Path, evidence: str | Path | None = None) -> Labels:
        """Read what `save` wrote.

        Raises
        ------
        UserError
            If the file is absent or no label table.
        """
        if not Path(cells).is_file():
            raise UserError(f"labels {cells}: no such file")
        table = read_table(cells)
        missing = [column for column in CELL_COLUMNS if column not in table]
        if missing:
            raise UserError(f"labels {cells}: column {missing[0]!r} is missing; a label table has {CELL_COLUMNS}")
        rows = pd.read_csv(evidence, sep="\t", keep_default_na=False) if evidence else pd.DataFrame()
        return cls(table, rows, read_info(cells))


def with_info(cells: pd.DataFrame, info: Mapping[str, Any]) -> pa.Table:
    """Table of cells with the sentences ``counts`` and ``warnings`` of `info` in its metadata; see `read_info`."""
    table = pa.Table.from_pandas(cells, preserve_index=False)
    kept = {name: info[name] for name in ("counts", "warnings") if name in info}
    return table.replace_schema_metadata((table.schema.metadata or {}) | {INFO_KEY: json.dumps(kept).encode()})


def cell_table(
    cell_ids: np.ndarray | pd.Index,
    labels: np.ndarray,
    confidence: np.ndarray,
    clusters: np.ndarray,
    alternatives: np.ndarray | None = None,
) -> pd.DataFrame:
    """Table of the cells with the contract's column types; arrays of shape (n_cells,)."""
    return pd.DataFrame(
        {
            "cell_id": np.asarray(cell_ids).astype(str),
            "label": np.asarray(labels).astype(str),
            "confidence": np.asarray(confidence, dtype=np.float32),
            "cluster": np.asarray(clusters, dtype=np.int32),
            "alternatives": np.full(len(cell_ids), "")
            if alternatives is None
            else np.asarray(alternatives).astype(str),
        }
    )


def undecided(cells: pd.DataFrame) -> np.ndarray:
    """True for the cells whose label is one of several alternatives, bool (n,)."""
    if "alternatives" not in cells:
        return np.zeros(len(cells), dtype=bool)
    return (cells["alternatives"].fillna("").astype(str) != "").to_numpy()


def read_info(cells: str | Path) -> dict[str, Any]:
    """Sentences kept with a label table: ``counts`` and ``warnings``; empty where there are none."""
    metadata = pq.read_schema(cells).metadata or {}
    return json.loads(metadata.get(INFO_KEY, b"{}"))

"""Method `own`: labels that people already have, of their AnnData, of Seurat or of Xenium Explorer, as a label set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from stnuclei.clustering.counts import cell_ids
from stnuclei.io.annotation import annotation_table, check_cells, read_annotation
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels


def label_own(
    adata: anndata.AnnData,
    context: LabelContext,
    *,
    labels: str | Path = "",
    labels_map: str | Path | None = None,
) -> Labels:
    """Take the labels of a file.

    Parameters
    ----------
    adata
        Cells x genes.
    context
        Taxonomy and clusters.
    labels
        h5ad, AnnData zarr or SpatialData zarr with ``#column`` of ``obs``, or a csv, tsv, parquet or xlsx as
        `read_annotation` takes it (Xenium Explorer's cell groups, Seurat's ``write.csv(object@meta.data)`` with
        ``#column``). Empty: no cell has a label.
    labels_map
        Its names in the taxonomy's classes; see `read_annotation`.

    Returns
    -------
    Labels: confidence 1, cells that the file does not name are Unknown. The evidence is what each cluster consists of.

    Raises
    ------
    UserError
        If the file cannot be read, or none of its cells is in the table.
    """
    ids, info = cell_ids(adata), _nothing()
    given = pd.DataFrame({"cell_id": [], "label": []}, dtype=str)
    if labels:
        given = read_annotation(labels, labels_map or None, context.taxonomy, subject="labels", advice=_ADVICE)
        info = _match(given, ids, str(labels))
    cells = annotation_table(given, ids.tolist(), context.taxonomy)
    cells["confidence"] = np.where(cells["label"] == context.taxonomy.unknown.name, 0, 1).astype(np.float32)
    cells["cluster"] = context.clusters["cluster"].to_numpy(np.int32)
    return Labels(cells, _composition(cells), info)


_ADVICE = "add it to the file of column labels_map; {unknown} leaves its cells without a class"


def _nothing() -> dict[str, Any]:
    return {"warnings": ["no labels are given for this sample (samples table, column labels): every cell is Unknown"]}


def _match(given: pd.DataFrame, ids: np.ndarray, path: str) -> dict[str, Any]:
    """Number of cells in both; a warning where the file names fewer than half of the table's."""
    warnings = check_cells(given, ids.tolist(), f"labels {path}")
    known = int(np.isin(ids, given["cell_id"]).sum())
    if known < len(ids) / 2:
        warnings.append(f"the file names {known:,} of {len(ids):,} cells; the others are Unknown")
    return {"cells_named": known, "warnings": warnings}


def _composition(cells: pd.DataFrame) -> pd.DataFrame:
    """Number of cells and fraction of each label by cluster."""
    kept = cells[cells["cluster"] >= 0]
    if kept.empty:
        return pd.DataFrame()
    fractions = pd.crosstab(kept["cluster"], kept["label"], normalize="index")
    evidence = fractions.add_prefix("score_").rename_axis(columns=None).reset_index()
    evidence.insert(1, "n_cells", kept.groupby("cluster").size().to_numpy())
    evidence["decision"] = fractions.idxmax(axis=1).to_numpy()
    evidence["why"] = "most frequent label of its cells in the file given"
    return evidence


register("own", label_own)

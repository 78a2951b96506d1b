"""Entry point of every labelling method: `label_cells`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from stnuclei.clustering.clustering import cluster_cells
from stnuclei.clustering.counts import cell_ids, check_counts, totals
from stnuclei.config.labels import METHODS
from stnuclei.errors import UserError
from stnuclei.labels.checks import check_symbols, describe_counts, label_doubts
from stnuclei.labels.registry import LabelContext, configure
from stnuclei.labels.result import Labels
from stnuclei.markers.markers import Markers, load_markers
from stnuclei.taxonomy import Taxonomy

TOP_GENES = 10
#: Shipped methods that need genes; those a user registers may do without.
BY_MARKERS = frozenset(METHODS) - {"own"}
log = logging.getLogger(__name__)


def label_cells(
    adata: anndata.AnnData,
    method: str,
    tissue: str,
    *,
    markers: Markers | str | Path | None = None,
    clusters: pd.DataFrame | None = None,
    ranked_genes: pd.DataFrame | None = None,
    taxonomy: str | Path | Taxonomy = "pannuke",
    disease: str | None = None,
    seed: int = 0,
    threads: int = 1,
    **settings: Any,
) -> Labels:
    """Label every cell of a sample by one method.

    Parameters
    ----------
    adata
        Cells x genes, raw counts; left as it is.
    method
        ``stnuclei``, ``paper``, ``paper_no_refinement``, ``topdown``, ``ucell``, ``aucell``, ``cellassign`` or
        ``own`` (labels of a file).
    tissue, markers
        A name or alias of the tissue map; marker tables, a folder of them, or None for the shipped ones.
    clusters, ranked_genes
        Both tables of `cluster_cells`, or neither: the cells are clustered then.
    taxonomy, disease
        Classes of nuclei (a name, a file, or the object); disease of the slide (``normal``, ``cancer``, ...), used by
        methods that call malignant cells.
    seed, threads, **settings
        Seed of everything random; threads a method may use; the method's own settings.

    Returns
    -------
    Labels in the table's order. A cell without counts is Unknown with confidence 0.

    Raises
    ------
    UserError
        If method, tissue, taxonomy or a setting is unknown, counts or clusters cannot be used, or no gene is known.
    """
    labelled_by = configure(method, settings)
    check_counts(adata)
    if not isinstance(markers, Markers):
        markers = load_markers(markers, taxonomy)
    organ = markers.tissue(tissue)  # before the clusters: an unknown tissue is reported at once
    if method in BY_MARKERS:
        check_symbols(list(adata.var_names), markers)
    clusters, ranked_genes = _clusters(adata, clusters, ranked_genes, seed, threads)
    context = LabelContext(
        organ, markers, markers.taxonomy, clusters, ranked_genes, disease=disease or None, seed=seed, threads=threads
    )
    labels = _with_genes(labelled_by(adata, context), ranked_genes)
    labels = _without_empty(labels, totals(adata) == 0, context.taxonomy.unknown.name, method)
    said = (*labels.info.get("warnings", ()), *label_doubts(labels.cells, list(adata.var_names), context))
    warnings = list(dict.fromkeys(said))
    for warning in warnings:
        log.warning("%s: %s", method, warning)
    info = {"warnings": warnings, "counts": describe_counts(labels.cells)}
    return Labels(labels.cells, labels.evidence, labels.info | info)


def _clusters(
    adata: anndata.AnnData, clusters: pd.DataFrame | None, ranked_genes: pd.DataFrame | None, seed: int, threads: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clusters given, in the table's order, or new ones."""
    if (clusters is None) != (ranked_genes is None):
        raise UserError("clusters and ranked_genes belong together: give both or neither")
    if clusters is None or ranked_genes is None:
        clustering = cluster_cells(adata, seed=seed, threads=threads)
        return clustering.cells, clustering.ranked_genes
    return _in_order(clusters, cell_ids(adata)), ranked_genes


def _in_order(clusters: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Clusters of the table's cells in the table's order."""
    given = clusters["cell_id"].astype(str)
    if len(given) == len(ids) and np.array_equal(given.to_numpy(), ids):
        return clusters.reset_index(drop=True)
    ordered = clusters.set_index(given)["cluster"].reindex(ids)
    if ordered.isna().any():
        missing = ordered.index[ordered.isna()][0]
        raise UserError(f"clusters: cell {missing!r} of the table is not among them; they are of another sample")
    return pd.DataFrame({"cell_id": ids, "cluster": ordered.to_numpy(np.int32)})


def _with_genes(labels: Labels, ranked_genes: pd.DataFrame) -> Labels:
    """Name the top genes of each cluster where a method's evidence does not."""
    evidence = labels.evidence
    if evidence.empty or "top_genes" in evidence or "cluster" not in evidence:
        return labels
    top = ranked_genes[ranked_genes["rank"] <= TOP_GENES].groupby("cluster")["gene"].agg(",".join)
    evidence = evidence.copy()
    evidence.insert(evidence.columns.get_loc("n_cells") + 1, "top_genes", evidence["cluster"].map(top).fillna(""))
    return Labels(labels.cells, evidence, labels.info)


def _without_empty(labels: Labels, empty: np.ndarray, unknown: str, name: str) -> Labels:
    """Set cells without counts to Unknown: a method cannot know anything of them."""
    if len(labels.cells) != len(empty):
        raise ValueError(f"method {name} labelled {len(labels.cells)} of {len(empty)} cells")
    cells = labels.cells.copy()
    if "alternatives" not in cells:  # a method of the user's that knows no alternatives
        cells["alternatives"] = ""
    if empty.any():
        cells.loc[empty, "label"] = unknown
        cells.loc[empty, "confidence"] = np.float32(0)
        cells.loc[empty, "cluster"] = np.int32(-1)
        cells.loc[empty, "alternatives"] = ""
    info = labels.info | {"method": name, "cells_without_counts": int(empty.sum())}
    return Labels(cells, labels.evidence, info)

"""Shared by the gene-set baselines: one gene set per category from the marker tables, and labels from scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import anndata
import numpy as np
import pandas as pd

from stnuclei.clustering.counts import cell_ids
from stnuclei.config.labels import SignatureSettings
from stnuclei.errors import UserError
from stnuclei.labels.registry import LabelContext
from stnuclei.labels.result import Labels, cell_table

# Genes. Longer lists of a single paper are results of a screen (differential expression), not curated markers.
LONGEST_LIST = 100

#: Category -> its genes.
GeneSets: TypeAlias = Mapping[str, Sequence[str]]


def category_genes(
    context: LabelContext, panel: Sequence[str], settings: SignatureSettings | None = None
) -> dict[str, list[str]]:
    """Panel genes that mark each category in the context's tissue.

    Parameters
    ----------
    context
        Tissue, markers and taxonomy.
    panel
        Gene names of the table, in its order.
    settings
        Cancer set, list limit and smallest fraction. The literal cancer set ``A3`` covers most of a panel, which ruins
        every method that scores cells by it; ``REC2`` is the cleaned one.

    Returns
    -------
    Category -> genes as the panel spells them. The taxonomy's neoplastic class, where it has one, comes last.

    Raises
    ------
    UserError
        If the cancer set is not known.
    """
    settings = settings or SignatureSettings()
    cancer = context.markers.cancer_sets.get(settings.cancer_set)
    if cancer is None:
        known = ", ".join(sorted(context.markers.cancer_sets))
        raise UserError(f"cancer set {settings.cancer_set!r} is not known; choose one of {known}")
    votes = category_votes(context, panel, settings.max_list_size)
    fraction = votes.div(votes.sum(axis=1).clip(lower=1), axis=0)
    neoplastic = context.taxonomy.role("neoplastic")
    names = [name for name in context.markers.categories if name != neoplastic]
    names_of_panel = np.asarray(panel, dtype=object)
    kept = {name: (votes[name] > 0) & (fraction[name] >= settings.min_fraction) for name in names}
    sets = {name: list(names_of_panel[genes.to_numpy()]) for name, genes in kept.items()}
    if neoplastic is not None:
        sets[neoplastic] = list(names_of_panel[np.isin(context.markers.translate(panel), list(cancer))])
    return sets


def category_votes(
    context: LabelContext, panel: Sequence[str], max_list_size: int | None = LONGEST_LIST
) -> pd.DataFrame:
    """Rows of the tissue's marker tables for each panel gene and category (Unknown too), int64, genes x categories.

    Facts that only lists longer than `max_list_size` give are left out; None: none are.
    """
    rows = context.markers.for_tissue(context.tissue)
    rows = rows[rows["votes"]]
    if max_list_size is not None:
        rows = rows[rows["min_list_size"] <= max_list_size]
    counts = rows.groupby(["symbol", "category"])["n_rows"].sum().unstack(fill_value=0)
    columns = [*context.markers.categories, context.taxonomy.unknown.name]
    table = counts.reindex(index=context.markers.translate(panel), columns=columns).fillna(0).astype(np.int64)
    return table.set_axis(list(panel), axis=0)


def describe_sets(settings: SignatureSettings, sets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Parameters, cancer set and number of genes of each category, for the log."""
    genes = {name: len(members) for name, members in sets.items()}
    return {"parameters": settings.parameters, "cancer_set": settings.cancer_set, "genes": genes}


def labels_from_scores(
    adata: anndata.AnnData,
    context: LabelContext,
    scores: pd.DataFrame,
    *,
    floor: float,
    info: Mapping[str, Any],
    probabilities: bool = False,
) -> Labels:
    """Label each cell with its best category; Unknown where none exceeds `floor` or two are equally good.

    Parameters
    ----------
    adata, context
        Table and what is known of the sample.
    scores
        Cells x categories.
    floor
        Score a label must exceed.
    info
        Settings and counts of the run, for the log.
    probabilities
        True if scores are probabilities, which are then the confidence; otherwise the confidence is the softmax of the
        scores scaled by their spread over cells: an order, not a calibrated probability.

    Returns
    -------
    Labels; evidence holds the mean score of each cluster.
    """
    values = scores.to_numpy(np.float64)
    order = np.sort(values, axis=1)
    clear = (order[:, -1] > floor) & ((order[:, -1] > order[:, -2]) if values.shape[1] > 1 else True)
    names = np.asarray(scores.columns, dtype=object)
    label = np.where(clear, names[values.argmax(axis=1)], context.taxonomy.unknown.name)
    confidence = np.where(clear, (values if probabilities else _softmax(values)).max(axis=1), 0.0)
    ids = cell_ids(adata)
    clusters = _clusters(ids, context)
    cells = cell_table(ids, label, confidence, clusters)
    return Labels(cells, _evidence(scores, label, clusters), dict(info))


def _softmax(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    spread = finite.std() if finite.size and finite.std() > 0 else 1.0
    shifted = np.exp((values - values.max(axis=1, keepdims=True)) / spread)
    return np.nan_to_num(shifted) / np.maximum(np.nan_to_num(shifted).sum(axis=1, keepdims=True), 1e-300)


def _clusters(ids: np.ndarray, context: LabelContext) -> np.ndarray:
    """Cluster of every cell, int32, -1 where the clusters do not hold it."""
    of_cell = context.clusters.set_index("cell_id")["cluster"] if len(context.clusters) else pd.Series(dtype=np.int32)
    return of_cell.reindex(ids).fillna(-1).to_numpy(np.int32)


def _evidence(scores: pd.DataFrame, label: np.ndarray, clusters: np.ndarray) -> pd.DataFrame:
    """Mean score and most frequent label of each cluster."""
    table = scores.replace([np.inf, -np.inf], np.nan).add_prefix("score_").assign(cluster=clusters, decision=label)
    groups = table[table["cluster"] >= 0].groupby("cluster")
    evidence = groups.mean(numeric_only=True).reset_index()
    evidence.insert(1, "n_cells", groups.size().to_numpy())
    evidence["decision"] = groups["decision"].agg(lambda names: names.value_counts().index[0]).to_numpy()
    evidence["why"] = "most frequent label of its cells; the method decides cell by cell"
    return evidence

"""What each panel gene says of lineage and of malignancy: log-odds against the panel, shrunk by how much is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stnuclei.labels.baselines.signatures import LONGEST_LIST, category_votes
from stnuclei.labels.registry import LabelContext

# Rows of the marker tables that the panel's background is worth: a gene with as many rows of its own is half believed.
PRIOR_ROWS = 10.0
PRIOR_ROWS_MALIGNANT = 3.0
_LEAST_SHARE = 0.02  # of a category on the panel, where the tables hardly know it


def lineage_evidence(context: LabelContext, panel: Sequence[str], prior_rows: float = PRIOR_ROWS) -> pd.DataFrame:
    """Log-odds of each category for each panel gene.

    With n_gk rows of the tissue's marker tables that list gene g for category k, and the panel's background pi_k (the
    mean over its known genes of n_gk / n_g), the evidence is log(p_gk / pi_k) with p_gk = (n_gk + a pi_k) / (n_g + a).
    A gene without rows says nothing (0); GATA3, listed for T cells more often than for luminal cells, says little. What
    a whole panel is rich in (immune genes) is no evidence.

    Parameters
    ----------
    context
        Tissue, markers and taxonomy.
    panel
        Gene names of the table, in its order.
    prior_rows
        a.

    Returns
    -------
    float64, genes x (the categories markers can vote for, then Unknown: lineages without a class, as neurons).
    """
    votes = category_votes(context, panel)
    votes = votes.drop(columns=[c for c in [context.taxonomy.role("neoplastic")] if c in votes.columns])
    counts = votes.to_numpy(np.float64)
    total = counts.sum(axis=1)
    known = total > 0
    if not known.any():
        return votes.astype(np.float64) * 0.0
    background = np.maximum((counts[known] / total[known, None]).mean(axis=0), _LEAST_SHARE)
    background /= background.sum()
    share = (counts + prior_rows * background) / (total + prior_rows)[:, None]
    share[~known] = background
    return pd.DataFrame(np.log(share / background), index=votes.index, columns=votes.columns)


def malignancy_evidence(
    context: LabelContext, panel: Sequence[str], prior_rows: float = PRIOR_ROWS_MALIGNANT
) -> pd.Series:
    """Log-odds of a gene being reported for malignant rather than for the tissue's normal epithelial cells.

    Malignant: rows under names of malignant cells (any tissue), and rows of the tissue's epithelial cells sampled in
    tumours. Normal: the other rows of the tissue's epithelial cells. Both are about epithelium, so a gene common to
    all epithelium stays near zero. Shrunk towards the panel's own ratio, which counts as zero. CellMarker's
    "Cancer cell" column is not used: most of its rows are immune cells.

    Parameters
    ----------
    context
        Tissue, markers and taxonomy.
    panel
        Gene names of the table, in its order.
    prior_rows
        Rows the panel's ratio is worth.

    Returns
    -------
    float64, one value a gene, 0 where nothing is known.
    """
    epithelial = context.taxonomy.role("epithelial")
    rows = context.markers.rows
    rows = rows[rows["min_list_size"] <= LONGEST_LIST]
    tissue = context.markers.for_tissue(context.tissue)
    tissue = tissue[tissue["votes"] & (tissue["category"] == epithelial) & (tissue["min_list_size"] <= LONGEST_LIST)]
    symbols = context.markers.translate(panel)

    def rows_of(table: pd.DataFrame) -> np.ndarray:
        return table.groupby("symbol")["n_rows"].sum().reindex(symbols).fillna(0).to_numpy(np.float64)

    malignant = rows_of(rows[rows["malignant"]]) + rows_of(tissue[tissue["from_tumour"]])
    normal = rows_of(tissue[~tissue["from_tumour"]])
    if malignant.sum() == 0 or normal.sum() == 0:
        return pd.Series(0.0, index=list(panel))
    ratio = malignant.sum() / (malignant.sum() + normal.sum())
    share = (malignant + prior_rows * ratio) / (malignant + normal + prior_rows)
    return pd.Series(np.log(share / (1 - share)) - np.log(ratio / (1 - ratio)), index=list(panel))

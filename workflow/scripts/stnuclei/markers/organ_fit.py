"""Organ that a panel of genes was made for, by the organs whose epithelial markers it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from stnuclei.markers.markers import Markers

# Facts of an organ's own epithelium below which it is not judged.
LEAST_FACTS = 100
# Genes that many facts name are on every panel, and some organs' facts name hardly any others: an organ's fraction of a
# gene's facts is compared with that of genes with about as many facts.
FACT_BINS = (0, 1, 2, 3, 5, 8, 14, 25, np.inf)
# Genes of longer single-paper lists are results of a screen, not markers.
LONGEST_LIST = 100
# 10x's own panels reach 5.1 (breast), 4.8 (colon) and 4.1 (lung) for their organ and at most 4.3 for another. The
# limits were set on these very panels: that they pass says nothing of others.
CLEAR_SCORE, CLEAR_LEAD = 4.5, 3.0


def organ_scores(markers: Markers, panel: Sequence[str]) -> pd.Series:
    """Standard score of each organ, highest first.

    For a gene g with n_g facts of epithelium, n_gt of them of organ t, the fraction n_gt / n_g less its mean over genes
    with as many facts (`FACT_BINS`) is summed over the panel and divided by its standard deviation.

    Parameters
    ----------
    markers
        Marker facts.
    panel
        Gene names.

    Returns
    -------
    float64 by tissue of the tissue map; organs with fewer than `LEAST_FACTS` facts are left out. Empty without a known
    gene.
    """
    deviation, variance = _deviations(_Facts(markers))
    genes = deviation.index.intersection(sorted(set(markers.translate(panel))))
    if genes.empty:
        return pd.Series(dtype=np.float64)
    scores = deviation.loc[genes].sum() / np.sqrt(variance.loc[genes].sum().clip(lower=1e-12))
    return scores.sort_values(ascending=False)


def better_organ(markers: Markers, panel: Sequence[str], tissue: str) -> str:
    """Organ that a panel clearly fits better than the tissue named; "" where none does or the tissue is not judged."""
    scores = organ_scores(markers, panel)
    if tissue not in scores or scores.iloc[0] < CLEAR_SCORE or scores.iloc[0] - scores[tissue] < CLEAR_LEAD:
        return ""
    return str(scores.index[0])


class _Facts:
    """Markers as a key of the cache: compared by identity, kept alive by it."""

    def __init__(self, markers: Markers) -> None:
        self.markers = markers

    def __hash__(self) -> int:
        return id(self.markers.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Facts) and self.markers.rows is other.markers.rows


@lru_cache(maxsize=2)
def _deviations(facts: _Facts) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Deviation of each gene's fraction of facts and its variance, both genes x organs."""
    markers = facts.markers
    rows, epithelial = markers.rows, markers.taxonomy.role("epithelial")
    rows = rows[rows["votes"] & (rows["category"] == epithelial) & (rows["min_list_size"] <= LONGEST_LIST)]
    # Filtered once: to look all facts through for every tissue took longer than to label 20,000 cells.
    epithelium = replace(markers, rows=rows)
    counts = {
        tissue: epithelium.for_tissue(tissue, shared=False).groupby("symbol")["n_rows"].sum()
        for tissue in markers.tissues
    }
    table = pd.DataFrame(counts).fillna(0)
    table = table.loc[:, table.sum() >= LEAST_FACTS]
    table = table[table.sum(axis=1) > 0]
    total = table.sum(axis=1)
    fraction, bins = table.div(total, axis=0), pd.cut(total, list(FACT_BINS), labels=False)
    by_bin = fraction.groupby(bins)
    return fraction - by_bin.transform("mean"), by_bin.transform("var").fillna(0)

"""Evidence of panel genes for lineage and malignancy: log-odds against the panel, shrunk by the rows behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stnuclei.labels.baselines.signatures import LONGEST_LIST, category_votes
from stnuclei.labels.registry import LabelContext

# Rows of the marker tables that the panel's background is worth: a gene with as many rows of its own is half believed.
_LEAST_FRACTION = 0.02  # of a category on the panel, where the tables hardly know it
_LEAST_UNKNOWN = 5  # genes; with fewer, lineages without a class (neurons, ...) cannot be recognised on the panel
# Genes of the S, G2 and M phases (Tirosh et al. 2016, doi:10.1126/science.aad0501) and five of the same use on panels.
# TUBB4B of that list is left out: ciliated cells express it most.
CYCLE_GENES = frozenset(
    """
    MCM5 PCNA TYMS FEN1 MCM2 MCM4 RRM1 UNG GINS2 MCM6 CDCA7 DTL PRIM1 UHRF1 CENPU HELLS RFC2 RPA2 NASP RAD51AP1 GMNN
    WDR76 SLBP CCNE2 UBR7 POLD3 MSH2 ATAD2 RAD51 RRM2 CDC45 CDC6 EXO1 TIPIN DSCC1 BLM CASP8AP2 USP1 CLSPN POLA1 CHAF1B
    BRIP1 E2F8 HMGB2 CDK1 NUSAP1 UBE2C BIRC5 TPX2 TOP2A NDC80 CKS2 NUF2 CKS1B MKI67 TMPO CENPF TACC3 PIMREG SMC4 CCNB2
    CKAP2L CKAP2 AURKB BUB1 KIF11 ANP32E GTSE1 KIF20B HJURP CDCA3 JPT1 CDC20 TTK CDC25C KIF2C RANGAP1 NCAPD2 DLGAP5
    CDCA2 CDCA8 ECT2 KIF23 HMMR AURKA PSRC1 ANLN LBR CKAP5 CENPE CTCF NEK2 G2E3 GAS2L3 CBX5 CENPA
    PCLAF STMN1 CCNB1 PTTG1 TK1 MYBL2 CCNA2
    """.split()
)


def lineage_evidence(context: LabelContext, panel: Sequence[str], prior_rows: float) -> pd.DataFrame:
    """Log-odds of each category for each panel gene.

    With n_gk rows of the tissue's marker tables that list gene g for category k, and the panel's background pi_k (the
    mean over its known genes of n_gk / n_g), the evidence is log(p_gk / pi_k) with p_gk = (n_gk + a pi_k) / (n_g + a).
    A gene without rows is no evidence (0); GATA3, listed for T cells more often than for luminal cells, is little. A
    category that the whole panel is rich in (immune genes) gains nothing by that.

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
    background = np.maximum((counts[known] / total[known, None]).mean(axis=0), _LEAST_FRACTION)
    background /= background.sum()
    fraction = (counts + prior_rows * background) / (total + prior_rows)[:, None]
    fraction[~known] = background
    evidence = np.log(fraction / background)
    # Of lineages without a class only presence is evidence: most panels have none of their markers, and absence from a
    # list that is not there would speak for every gene the tables do not know.
    unknown = np.maximum(evidence[:, -1], 0)
    evidence[:, -1] = unknown if (unknown > 0).sum() >= _LEAST_UNKNOWN else 0
    return pd.DataFrame(evidence, index=votes.index, columns=votes.columns)


def malignancy_evidence(context: LabelContext, panel: Sequence[str], prior_rows: float) -> pd.Series:
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
    fraction = (malignant + prior_rows * ratio) / (malignant + normal + prior_rows)
    return pd.Series(np.log(fraction / (1 - fraction)) - np.log(ratio / (1 - ratio)), index=list(panel))


def cycle_genes(context: LabelContext, panel: Sequence[str]) -> np.ndarray:
    """Panel genes that dividing cells express, bool (genes,)."""
    return np.isin(context.markers.translate(panel), list(CYCLE_GENES))

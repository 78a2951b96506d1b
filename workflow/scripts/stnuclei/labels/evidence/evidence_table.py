"""Evidence of method `stnuclei` that a person can check: a row a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stnuclei.labels.evidence.null_model import words

if TYPE_CHECKING:
    from stnuclei.labels.evidence.lineage import Lineages
    from stnuclei.labels.evidence.malignancy import Malignancy

_N_GENES = 10


def explain_clusters(
    clusters: np.ndarray,
    label: np.ndarray,
    lineages: Lineages,
    evidence: pd.DataFrame,
    critical: float,
    malignancy: Malignancy | None,
) -> pd.DataFrame:
    """Tell for each cluster what speaks for its label.

    Parameters
    ----------
    clusters, label
        Of every cell with counts; cluster -1 is left out.
    lineages
        Scores of the cells and expression of the clusters.
    evidence
        Log-odds of the genes.
    critical
        Score a label must exceed.
    malignancy
        Outcome of the test, None where the taxonomy has no neoplastic class.

    Returns
    -------
    Table: cluster, n_cells, top_genes, score_<Category> (of the cluster's mean expression), marker_set, cancer_ratio
    (share of its cells called neoplastic), share (of cells with the cluster's own decision), decision, why.
    """
    if not (clusters >= 0).any():
        return pd.DataFrame(
            columns=["cluster", "n_cells", "top_genes", "marker_set", "cancer_ratio", "decision", "why"]
        )
    deviations = lineages.cluster_means - lineages.reference
    scores = lineages.cluster_scores
    rows = []
    for place, name in enumerate(lineages.clusters):
        own = label[clusters == name]
        found, counts = np.unique(own.astype(str), return_counts=True)
        decision, share = str(found[counts.argmax()]), counts.max() / counts.sum()
        row: dict[str, Any] = {"cluster": int(name), "n_cells": len(own)}
        row["top_genes"] = ",".join(evidence.index[np.argsort(-deviations[place])[:_N_GENES]])
        row |= {f"score_{k}": scores[place, i] for i, k in enumerate(lineages.names)}
        row |= {"marker_set": "organ", "cancer_ratio": float("nan"), "share": share, "decision": decision}
        row["why"] = _why(lineages.names, scores[place], deviations[place], evidence, critical, share)
        if malignancy is not None:
            row |= _malignant(own, decision, malignancy, lineages.names)
            row["why"] += row.pop("malignant_words")
        rows.append(row)
    return pd.DataFrame(rows)


def _why(
    names: Sequence[str],
    scores: np.ndarray,
    deviation: np.ndarray,
    evidence: pd.DataFrame,
    critical: float,
    share: float,
) -> str:
    """Lineage decision of a cluster in words, with the genes that carry it."""
    best = int(scores.argmax())
    # Absent genes of other categories count in the score too, but present ones are what a person can check.
    parts = np.maximum(deviation, 0) * evidence.iloc[:, best].to_numpy()
    order = np.argsort(-parts)[:4]
    genes = words([(str(evidence.index[i]), float(100 * parts[i])) for i in order if parts[i] > 0])
    verdict = "exceeds" if scores[best] > critical else "does not exceed"
    return (
        f"{names[best]} {scores[best]:.1f} {verdict} {critical:.1f}, what chance gives on this panel; carried by "
        f"{genes or 'no gene'}; {share:.0%} of its cells agree"
    )


def _malignant(own: np.ndarray, decision: str, malignancy: Malignancy, names: Sequence[str]) -> dict[str, Any]:
    """Share of malignant cells and the test in words, for clusters of epithelium."""
    neoplastic = ~np.isin(own.astype(str), list(names))
    return {
        "cancer_ratio": float(neoplastic.mean()),
        "malignant_words": f"; {malignancy.why}" if decision not in names or neoplastic.any() else "",
    }

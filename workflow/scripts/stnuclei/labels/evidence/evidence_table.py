"""Evidence of method `stnuclei` that a person can check: a row a cluster."""

from __future__ import annotations

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
    malignancy: Malignancy | None,
) -> pd.DataFrame:
    """Table of the evidence for each cluster's label.

    Parameters
    ----------
    clusters, label
        (cells,) of every cell with counts; cluster -1 is left out.
    lineages
        Scores and expression of the clusters, in the order of their numbers.
    evidence
        Log-odds of the genes.
    malignancy
        Outcome of the test, None where the taxonomy has no neoplastic class.

    Returns
    -------
    Table: cluster, n_cells, top_genes, score_<Category> (of the cluster's mean expression), fraction_<Category> (of its
    transcripts), marker_set, cancer_ratio (fraction of its cells called neoplastic), fraction (of cells with the
    cluster's own decision), decision, why.
    """
    numbers = np.unique(clusters)
    rows = []
    for row, number in enumerate(numbers):
        if number < 0:
            continue
        members = label[clusters == number]
        names, sizes = np.unique(members.astype(str), return_counts=True)
        decision, fraction = str(names[sizes.argmax()]), sizes.max() / sizes.sum()
        deviation = np.sqrt(lineages.cluster_profiles[row]) - lineages.reference
        record: dict[str, Any] = {"cluster": int(number), "n_cells": len(members)}
        record["top_genes"] = ",".join(evidence.index[np.argsort(-deviation)[:_N_GENES]])
        record |= {f"score_{k}": lineages.cluster_scores[row, i] for i, k in enumerate(lineages.names)}
        record |= {f"fraction_{k}": float(lineages.fractions[row, i]) for i, k in enumerate(lineages.names)}
        record |= {"marker_set": "organ", "cancer_ratio": float("nan"), "fraction": fraction, "decision": decision}
        record["why"] = _why(lineages, row, deviation, evidence, fraction)
        if malignancy is not None:
            neoplastic = ~np.isin(members.astype(str), list(lineages.names))
            record["cancer_ratio"] = float(neoplastic.mean())
            record["why"] += f"; {malignancy.why}" if neoplastic.any() else ""
        rows.append(record)
    columns = ["cluster", "n_cells", "top_genes", "marker_set", "cancer_ratio", "fraction", "decision", "why"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _why(lineages: Lineages, row: int, deviation: np.ndarray, evidence: pd.DataFrame, fraction: float) -> str:
    """Lineage decision of a cluster in words, with the genes that carry it."""
    scores = lineages.cluster_scores[row]
    best = int(scores.argmax())
    # Absent genes of other categories count in the score too, but present ones are what a person can check.
    contributions = np.maximum(deviation, 0) * evidence.iloc[:, best].to_numpy()
    order = np.argsort(-contributions)[:4]
    genes = words([(str(evidence.index[i]), float(100 * contributions[i])) for i in order if contributions[i] > 0])
    verdict = "exceeds" if lineages.known[row] else "does not exceed"
    most = int(lineages.fractions[row].argmax())
    return (
        f"{lineages.names[best]} {scores[best]:.1f} {verdict} what chance gives on this panel; carried by "
        f"{genes or 'no gene'}; {lineages.fractions[row, most]:.0%} of its transcripts are {lineages.names[most]}; "
        f"{fraction:.0%} of its cells agree"
    )

"""Method `stnuclei`: marker evidence weighed against chance on the panel, cell by cell, averaged over similar cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd

from stnuclei.clustering.counts import cell_ids, totals
from stnuclei.labels.evidence.evidence_table import explain_clusters
from stnuclei.labels.evidence.gene_evidence import lineage_evidence, malignancy_evidence
from stnuclei.labels.evidence.lineage import Lineages, weigh_lineages
from stnuclei.labels.evidence.malignancy import Malignancy, malignant_epithelium, slide_kind
from stnuclei.labels.evidence.null_model import critical_score
from stnuclei.labels.evidence.parallel_analysis import NO_STRUCTURE, shows_structure
from stnuclei.labels.evidence.smoothing import SimilarCells, group_means
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels, cell_table

_FEW_GENES = 20


def label_stnuclei(
    adata: anndata.AnnData,
    context: LabelContext,
    *,
    n_neighbors: int = 15,
    smoothing: int = 2,
    level: float = 0.01,
    level_malignant: float = 0.05,
    prior_rows: float = 10.0,
    prior_rows_malignant: float = 3.0,
) -> Labels:
    """Label cells by `stnuclei`.

    1. Every panel gene gets log-odds for each category against the panel's background (`lineage_evidence`).
    2. Every cell's expression (square roots of shares, so that no single gene decides) is averaged twice over its
       nearest neighbours, and its deviation from the slide's background (`balanced_reference`) taken.
    3. The deviations' product with the log-odds is put on the scale of what the same deviations would give with the
       genes' evidence dealt out at random (`PermutationScore`). The best category wins where its score, or that of the
       cell's whole cluster for the same category, exceeds the critical one; the cell is Unknown otherwise, and where a
       lineage without a class wins. A slide whose cells do not differ (`shows_structure`) is Unknown throughout.
    4. Epithelial cells are tested for malignancy (`malignant_epithelium`).

    Parameters
    ----------
    adata
        Cells x genes, raw counts.
    context
        Tissue, markers, taxonomy, clusters, disease, seed.
    n_neighbors
        Cells averaged over.
    smoothing
        How many times; 0 judges each cell alone.
    level
        Share of random evidence that may give a label.
    level_malignant
        Share of random evidence that may make a slide's epithelium malignant.
    prior_rows, prior_rows_malignant
        Rows that the panel's background is worth.

    Returns
    -------
    Labels. Confidence is the probability of the label: softmax of the scores with Unknown at the critical score, times
    the probability of the malignancy decision for epithelium.
    """
    filled = np.flatnonzero(totals(adata) > 0)
    part = adata if len(filled) == adata.n_obs else adata[filled]
    expression = SimilarCells.of(
        part, n_neighbors=n_neighbors, steps=smoothing, seed=context.seed, threads=context.threads
    )
    clusters = context.clusters["cluster"].to_numpy(np.int64)[filled]
    evidence = lineage_evidence(context, adata.var_names, prior_rows)
    critical = critical_score(level, evidence.shape[1] - 1)
    lineages = weigh_lineages(expression, evidence, clusters, critical)
    structured, ratio = shows_structure(part, context.seed)
    decided = _decide(lineages, clusters, critical if structured else np.inf)
    malignancy = None
    if {context.taxonomy.role("epithelial"), context.taxonomy.role("neoplastic")} <= set(context.taxonomy.names):
        malignant = malignancy_evidence(context, adata.var_names, prior_rows_malignant).to_numpy()
        malignancy = _refine(decided, expression, lineages, evidence, malignant, clusters, context, level_malignant)
    return _labels(adata, context, filled, decided, lineages, evidence, critical, ratio, malignancy)


@dataclass
class _Decided:
    """Label and confidence of the cells with counts; the refinement changes both."""

    label: np.ndarray
    confidence: np.ndarray


def _decide(lineages: Lineages, clusters: np.ndarray, critical: float) -> _Decided:
    """Best category of each cell, Unknown where neither the cell nor its cluster exceeds the critical score."""
    scores, last = lineages.scores, len(lineages.names) - 1
    best = scores.argmax(axis=1)
    sure = scores.max(axis=1, initial=-np.inf) > critical
    place = np.minimum(np.searchsorted(lineages.clusters, clusters), len(lineages.clusters) - 1)
    together = lineages.cluster_scores[place]
    vouched = (clusters >= 0) & (together.argmax(axis=1) == best) & (together.max(axis=1) > critical)
    # Scores act as log-likelihoods; Unknown has at least the critical one, unless the cluster vouches for the cell.
    weights = scores.copy()
    floor = np.where(vouched & ~sure, -np.inf, min(critical, np.finfo(np.float64).max))
    weights[:, last] = np.maximum(weights[:, last], floor)
    weights = np.exp(weights - weights.max(axis=1, keepdims=True, initial=-np.inf))
    best[~sure & ~vouched] = last
    confidence = weights[np.arange(len(best)), best] / weights.sum(axis=1)
    return _Decided(np.asarray(lineages.names, dtype=object)[best], confidence)


def _refine(
    decided: _Decided,
    expression: SimilarCells,
    lineages: Lineages,
    evidence: pd.DataFrame,
    malignant: np.ndarray,
    clusters: np.ndarray,
    context: LabelContext,
    level: float,
) -> Malignancy:
    """Split epithelial cells into epithelial and neoplastic ones."""
    epithelial, neoplastic = (context.taxonomy.role(role) for role in ("epithelial", "neoplastic"))
    cells = np.flatnonzero(decided.label == epithelial)
    genes = epithelial_genes(expression, evidence, decided.label, epithelial)
    found = malignant_epithelium(
        expression, lineages.reference, malignant, genes, cells, clusters,
        kind=slide_kind(context.disease), level=level, seed=context.seed,
    )  # fmt: skip
    if found.present:
        # Scores are about 1 above or below the threshold: twice that is the log-likelihood ratio of the two.
        decided.confidence[cells] /= 1 + np.exp(-2 * np.abs(found.scores - found.threshold))
        decided.label[cells[found.malignant]] = neoplastic
    return found


def epithelial_genes(
    expression: SimilarCells, evidence: pd.DataFrame, label: np.ndarray, epithelial: str
) -> np.ndarray:
    """Places of the genes that the tables call epithelial, or that the slide's epithelium expresses most."""
    known = evidence[epithelial].to_numpy() > 0
    names = [epithelial, *(name for name in evidence.columns[:-1] if name != epithelial)]
    groups = np.full(len(label), -1, dtype=np.int64)
    for number, name in enumerate(names):
        groups[label == name] = number
    present, _, means = group_means(expression.shares, groups)
    if len(present) < 2 or present[0] != 0:
        return np.flatnonzero(known)
    return np.flatnonzero(known | (means[0] > means[1:].max(axis=0)))


def _labels(
    adata: anndata.AnnData,
    context: LabelContext,
    filled: np.ndarray,
    decided: _Decided,
    lineages: Lineages,
    evidence: pd.DataFrame,
    critical: float,
    structure: float,
    malignancy: Malignancy | None,
) -> Labels:
    names = np.full(adata.n_obs, context.taxonomy.unknown.name, dtype=object)
    confidence = np.zeros(adata.n_obs)
    names[filled], confidence[filled] = decided.label, decided.confidence
    clusters = context.clusters["cluster"].to_numpy(np.int32)
    cells = cell_table(cell_ids(adata), names, confidence, clusters)
    rows = explain_clusters(clusters[filled], decided.label, lineages, evidence, critical, malignancy)
    info: dict[str, Any] = {
        "critical_score": critical,
        "structure": structure,
        "genes_with_evidence": int((evidence != 0).any(axis=1).sum()),
    }
    if malignancy is not None:
        info |= {
            "malignant": malignancy.present,
            "malignant_score": malignancy.slide,
            "malignant_chance": malignancy.chance,
            "malignant_genes": malignancy.genes,
            "malignant_why": malignancy.why,
        }
    info["warnings"] = _warnings(info, slide_kind(context.disease))
    return Labels(cells, rows, info)


def _warnings(info: dict[str, Any], kind: str) -> list[str]:
    """What a person should know before trusting the labels."""
    found = []
    if info["structure"] <= NO_STRUCTURE:
        found.append("the cells differ no more than shuffled counts do: all are Unknown")
    if info["genes_with_evidence"] < _FEW_GENES:
        found.append(f"only {info['genes_with_evidence']} genes of the panel are in the tissue's marker tables")
    if kind == "unsaid" and not info.get("malignant", True) and np.isfinite(info["malignant_chance"]):
        found.append(f"no cell is called malignant: {info['malignant_why']}; the samples table's disease can decide it")
    return found


register("stnuclei", label_stnuclei)

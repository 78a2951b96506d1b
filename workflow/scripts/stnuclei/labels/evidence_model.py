"""Method `stnuclei`: marker evidence weighed against chance on the panel, cell by cell, averaged over similar cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from stnuclei.labels.chance import PermutationScore, critical_score
from stnuclei.labels.counts import cell_ids, totals
from stnuclei.labels.explain import explain_clusters
from stnuclei.labels.gene_evidence import lineage_evidence, malignancy_evidence
from stnuclei.labels.malignancy import Malignancy, malignant_epithelium, slide_kind
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels, cell_table
from stnuclei.labels.smoothing import neighbour_mean, root_shares, smoothed_blocks


@dataclass(frozen=True)
class Lineages:
    """Evidence for lineages.

    Parameters
    ----------
    names
        Categories of the columns of `scores`; the last is Unknown (lineages without a class).
    scores
        Standard scores (cells, categories) against random pairing of genes and evidence.
    reference
        Background share of each gene (square root), (genes,): the mean of the clusters' means.
    cluster_means
        Smoothed expression of each cluster, (clusters, genes).
    """

    names: tuple[str, ...]
    scores: np.ndarray
    reference: np.ndarray
    cluster_means: np.ndarray


def label_stnuclei(
    adata: anndata.AnnData,
    context: LabelContext,
    *,
    n_neighbors: int = 15,
    smoothing: int = 2,
    level: float = 0.05,
    prior_rows: float = 10.0,
    prior_rows_malignant: float = 3.0,
) -> Labels:
    """Label cells by `stnuclei`.

    1. Every panel gene gets log-odds for each category against the panel's background (`lineage_evidence`).
    2. Every cell's expression (square roots of shares, so that no single gene decides) is averaged twice over its
       nearest neighbours, and its deviation from the slide's background (the mean of its clusters' means) taken.
    3. The deviations' product with the log-odds is put on the scale of what the same deviations would give with the
       genes' evidence dealt out at random (`PermutationScore`). The best category wins where its score exceeds the
       critical one; the cell is Unknown otherwise, and where a lineage without a class wins.
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
    prior_rows, prior_rows_malignant
        Rows that the panel's background is worth.

    Returns
    -------
    Labels. Confidence is the probability of the label: softmax of the scores with Unknown at the critical score, times
    the probability of the malignancy decision for epithelium.
    """
    filled = np.flatnonzero(totals(adata) > 0)
    part = adata if len(filled) == adata.n_obs else adata[filled]
    clusters = context.clusters["cluster"].to_numpy(np.int64)
    mean = None
    if smoothing and len(filled) > 2:
        mean = neighbour_mean(part, n_neighbors=n_neighbors, seed=context.seed, threads=context.threads)
    shares = root_shares(part)
    evidence = lineage_evidence(context, adata.var_names, prior_rows)
    lineages = weigh_lineages(shares, mean, smoothing, evidence, clusters[filled])
    critical = critical_score(level, len(lineages.names) - 1)
    best = lineages.scores.argmax(axis=1)
    best[lineages.scores.max(axis=1, initial=-np.inf) <= critical] = len(lineages.names) - 1
    confidence = _softmax_at(lineages.scores, best, critical)
    label = np.asarray(lineages.names, dtype=object)[best]
    malignancy = None
    if {context.taxonomy.role("epithelial"), context.taxonomy.role("neoplastic")} <= set(context.taxonomy.names):
        tested = _Refinement(
            context, evidence, malignancy_evidence(context, adata.var_names, prior_rows_malignant), level
        )
        malignancy = tested.apply(shares, mean, smoothing, lineages, label, confidence)
    return _labels(adata, context, filled, label, confidence, lineages, evidence, critical, malignancy)


def weigh_lineages(
    shares: sparse.csc_matrix,
    mean: sparse.csr_matrix | None,
    steps: int,
    evidence: pd.DataFrame,
    clusters: np.ndarray,
) -> Lineages:
    """Score every cell for every category.

    Parameters
    ----------
    shares, mean, steps
        See `smoothed_blocks`.
    evidence
        From `lineage_evidence`.
    clusters
        Cluster of every cell, -1 for none.
    """
    n_cells, n_genes = shares.shape
    members = _membership(clusters)
    score = PermutationScore(evidence.to_numpy(), n_cells)
    reference, cluster_means = np.zeros(n_genes), np.zeros((members.shape[0], n_genes))
    for block, values in smoothed_blocks(shares, mean, steps, np.arange(n_genes)):
        cluster_means[:, block] = members @ values
        # Each cluster counts once: a slide that is nine tenths tumour would otherwise have tumour as its background.
        reference[block] = cluster_means[:, block].mean(axis=0)
        score.add(block, values - reference[block])
    return Lineages(tuple(evidence.columns), score.scores(), reference, cluster_means)


def _membership(clusters: np.ndarray) -> sparse.csr_matrix:
    """Matrix that averages over clusters, (clusters, cells); all cells are one cluster where there are none."""
    inside = np.flatnonzero(clusters >= 0)
    if not len(inside):
        inside, clusters = np.arange(len(clusters)), np.zeros(len(clusters), dtype=np.int64)
    _, row, size = np.unique(clusters[inside], return_inverse=True, return_counts=True)
    return sparse.csr_matrix(((1 / size[row]).astype(np.float32), (row, inside)), shape=(len(size), len(clusters)))


def _softmax_at(scores: np.ndarray, best: np.ndarray, critical: float) -> np.ndarray:
    """Probability of column `best` of each row: scores act as log-likelihoods, Unknown has at least the critical."""
    scores = scores.copy()
    scores[:, -1] = np.maximum(scores[:, -1], critical)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True, initial=critical))
    return weights[np.arange(len(best)), best] / weights.sum(axis=1)


@dataclass(frozen=True)
class _Refinement:
    """Epithelial cells into epithelial and neoplastic ones."""

    context: LabelContext
    lineage: pd.DataFrame
    malignant: pd.Series
    level: float

    def apply(
        self,
        shares: sparse.csc_matrix,
        mean: sparse.csr_matrix | None,
        steps: int,
        lineages: Lineages,
        label: np.ndarray,
        confidence: np.ndarray,
    ) -> Malignancy:
        """Test the epithelial cells; changes `label` and `confidence` of those found malignant."""
        epithelial, neoplastic = (self.context.taxonomy.role(role) for role in ("epithelial", "neoplastic"))
        cells = np.flatnonzero(label == epithelial)
        found = malignant_epithelium(
            shares, mean, steps, lineages.reference, self.malignant.to_numpy(), self._genes(shares, label), cells,
            kind=slide_kind(self.context.disease), level=self.level,
        )  # fmt: skip
        if found.present:
            # The score is about 1 above or below zero: twice it is the log-likelihood ratio of the two.
            confidence[cells] *= 1 / (1 + np.exp(-2 * np.abs(found.scores)))
            label[cells[found.scores > 0]] = neoplastic
        return found

    def _genes(self, shares: sparse.csc_matrix, label: np.ndarray) -> np.ndarray:
        """Genes that the marker tables call epithelial, or that the slide's epithelium expresses most."""
        epithelial = self.context.taxonomy.role("epithelial")
        others = [name for name in self.lineage.columns[:-1] if name != epithelial and (label == name).any()]
        known = self.lineage[epithelial].to_numpy() > 0
        if not others or not (label == epithelial).any():
            return np.flatnonzero(known)
        rows = shares.tocsr()
        own, *rest = (np.asarray(rows[label == name].mean(axis=0)).ravel() for name in (epithelial, *others))
        return np.flatnonzero(known | (own > np.max(rest, axis=0)))


def _labels(
    adata: anndata.AnnData,
    context: LabelContext,
    filled: np.ndarray,
    label: np.ndarray,
    confidence: np.ndarray,
    lineages: Lineages,
    evidence: pd.DataFrame,
    critical: float,
    malignancy: Malignancy | None,
) -> Labels:
    names = np.full(adata.n_obs, context.taxonomy.unknown.name, dtype=object)
    probability = np.zeros(adata.n_obs)
    names[filled], probability[filled] = label, confidence
    clusters = context.clusters["cluster"].to_numpy(np.int32)
    cells = cell_table(cell_ids(adata), names, probability, clusters)
    rows = explain_clusters(clusters[filled], label, lineages, evidence, critical, malignancy)
    info: dict[str, Any] = {"critical_score": critical, "genes_with_evidence": int((evidence != 0).any(axis=1).sum())}
    if malignancy is not None:
        info |= {
            "malignant": malignancy.present,
            "malignant_score": malignancy.slide,
            "malignant_genes": malignancy.genes,
            "malignant_why": malignancy.why,
        }
    return Labels(cells, rows, info)


register("stnuclei", label_stnuclei)

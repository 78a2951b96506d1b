"""Label method `stnuclei`: marker evidence of clusters against a null model, refined by counts cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from stnuclei.clustering.counts import cell_ids, totals
from stnuclei.config.labels import EvidenceSettings
from stnuclei.labels.evidence.evidence_table import explain_clusters
from stnuclei.labels.evidence.gene_evidence import cycle_genes, lineage_evidence, malignancy_evidence
from stnuclei.labels.evidence.lineage import Lineages, lineages_of_cells
from stnuclei.labels.evidence.malignancy import (
    LabelledCells,
    Malignancy,
    MalignancyGenes,
    malignant_epithelium,
    slide_kind,
)
from stnuclei.labels.evidence.null_model import NO_STRUCTURE, shows_structure
from stnuclei.labels.evidence.profiles import fractions, group_counts
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels, cell_table

_FEW_GENES = 20


# Products of a thousand cells last a millisecond: two threads of BLAS spend seven times the processor time of one,
# waiting for each other, where others work on the machine.
@threadpool_limits.wrap(limits=1, user_api="blas")
def label_stnuclei(adata: anndata.AnnData, context: LabelContext, settings: EvidenceSettings) -> Labels:
    """Label cells by `stnuclei`.

    1. Every panel gene gets log-odds for each category against the panel's background (`lineage_evidence`).
    2. A cluster's expression above the slide's background (`balanced_reference`), times the log-odds, is compared with
       random pairings of genes and evidence. Clusters that chance explains (`significant`) have no lineage. A slide
       whose cells do not differ (`shows_structure`) is Unknown throughout.
    3. Clusters that others are mixtures of (`archetypes`) are cleaned of spillover; every cell is unmixed into them and
       gets the category that most of its transcripts come from. A naive Bayes model of the cells so labelled gives the
       final probabilities (`lineages_of_cells`).
    4. Epithelial cells are tested for malignancy (`malignant_epithelium`).

    Parameters
    ----------
    adata
        Cells x genes, raw counts.
    context
        Tissue, markers, taxonomy, clusters, disease, seed.
    settings
        Constants of the method.

    Returns
    -------
    Labels. Confidence is the probability of the label.
    """
    filled = np.flatnonzero(totals(adata) > 0)
    counted = adata if len(filled) == adata.n_obs else adata[filled]
    counts = sparse.csr_matrix(counted.X, dtype=np.float32)
    # Numbered from 0 without gaps; cells of no cluster (-1) form one of their own.
    clusters = np.unique(context.clusters["cluster"].to_numpy()[filled], return_inverse=True)[1].astype(np.int64)
    evidence = lineage_evidence(context, adata.var_names, settings.prior_rows)
    lineages = lineages_of_cells(counts, clusters, evidence, settings)
    structured, ratio = shows_structure(counted, context.seed)
    decided = _decide(lineages, structured)
    malignancy = None
    if {context.taxonomy.role("epithelial"), context.taxonomy.role("neoplastic")} <= set(context.taxonomy.names):
        malignancy = _refine(decided, counts, lineages, evidence, context, settings)
    cells = _cells(cell_ids(adata), filled, decided, context)
    numbers = cells["cluster"].to_numpy()[filled]
    rows = explain_clusters(numbers, decided.label, lineages, evidence, malignancy)
    info: dict[str, Any] = {
        "structure": ratio,
        "genes_with_evidence": int((evidence != 0).any(axis=1).sum()),
        "clusters_with_lineage": int(lineages.known.sum()),
        "undecided_cells": int((decided.alternatives != "").sum()),
        **_malignancy_info(malignancy),
    }
    info["warnings"] = _warnings(info, slide_kind(context.disease))
    return Labels(cells, rows, info)


@dataclass
class _Decided:
    """Label, confidence and alternatives of the cells with counts; the refinement changes all three."""

    label: np.ndarray
    confidence: np.ndarray
    alternatives: np.ndarray


def _decide(lineages: Lineages, structured: bool) -> _Decided:
    """Most probable category of each cell, Unknown for all where the cells do not differ."""
    names = np.asarray(lineages.names, dtype=object)
    best = lineages.probability.argmax(axis=1) if structured else np.full(len(lineages.probability), len(names) - 1)
    confidence = lineages.probability[np.arange(len(best)), best]
    return _Decided(names[best], confidence, np.full(len(best), "", dtype=object))


def _refine(
    decided: _Decided,
    counts: sparse.csr_matrix,
    lineages: Lineages,
    evidence: pd.DataFrame,
    context: LabelContext,
    settings: EvidenceSettings,
) -> Malignancy:
    """Split epithelial cells into epithelial and neoplastic ones."""
    epithelial, neoplastic = (str(context.taxonomy.role(role)) for role in ("epithelial", "neoplastic"))
    cells = np.flatnonzero(decided.label == epithelial)
    genes = MalignancyGenes(
        malignancy_evidence(context, evidence.index, settings.prior_rows_malignant).to_numpy(),
        epithelial_genes(counts, evidence, decided.label, epithelial),
        cycle_genes(context, evidence.index),
    )
    outcome = malignant_epithelium(
        LabelledCells(counts, decided.label, lineages.component),
        genes,
        epithelial,
        n_categories=len(lineages.names) - 1,
        kind=slide_kind(context.disease),
        settings=settings,
    )
    decided.confidence[cells] *= np.maximum(outcome.probability, 1 - outcome.probability)
    decided.label[cells[outcome.malignant]] = neoplastic
    if np.isfinite(outcome.score):  # NaN where nothing was tested: a normal slide, a panel without epithelial genes
        decided.alternatives[cells[outcome.undecided]] = f"{epithelial}|{neoplastic}"
    return outcome


def epithelial_genes(
    counts: sparse.csr_matrix, evidence: pd.DataFrame, label: np.ndarray, epithelial: str
) -> np.ndarray:
    """Columns of the genes that the tables call epithelial, or that the slide's epithelium expresses most."""
    known = evidence[epithelial].to_numpy() > 0
    names = list(evidence.columns[:-1])
    number = {name: i for i, name in enumerate(names)}
    groups = np.array([number.get(name, -1) for name in label], dtype=np.int64)
    profiles = np.sqrt(fractions(group_counts(counts, groups, len(names))))
    first = number[epithelial]
    others = np.delete(profiles, first, axis=0)
    if not others.any() or not profiles[first].any():
        return np.flatnonzero(known)
    return np.flatnonzero(known | (profiles[first] > others.max(axis=0)))


def _cells(ids: np.ndarray, filled: np.ndarray, decided: _Decided, context: LabelContext) -> pd.DataFrame:
    """Table of all cells; those without counts are Unknown."""
    names = np.full(len(ids), context.taxonomy.unknown.name, dtype=object)
    alternatives = np.full(len(ids), "", dtype=object)
    confidence = np.zeros(len(ids))
    names[filled], confidence[filled] = decided.label, decided.confidence
    alternatives[filled] = decided.alternatives
    clusters = context.clusters["cluster"].to_numpy(np.int32)
    return cell_table(ids, names, confidence, clusters, alternatives)


def _malignancy_info(malignancy: Malignancy | None) -> dict[str, Any]:
    if malignancy is None:
        return {}
    return {
        "malignant": malignancy.present,
        "malignant_score": malignancy.score,
        "proliferation": malignancy.proliferation,
        "malignant_genes": malignancy.genes,
        "malignant_why": malignancy.why,
    }


def _warnings(info: dict[str, Any], kind: str) -> list[str]:
    """Warnings about labels that should not be trusted without a look."""
    warnings = []
    if info["structure"] <= NO_STRUCTURE:
        warnings.append("the cells differ no more than shuffled counts do: all are Unknown")
    if info["genes_with_evidence"] < _FEW_GENES:
        warnings.append(f"only {info['genes_with_evidence']} genes of the panel are in the tissue's marker tables")
    if kind != "tumour" and kind != "normal" and "malignant" in info and np.isfinite(info["malignant_score"]):
        verdict = "cells are called malignant" if info["malignant"] else "no cell is called malignant"
        advice = "the samples table's disease can decide it"
        warnings.append(f"the disease is not given; {verdict}: {info['malignant_why']}; {advice}")
    return warnings


register("stnuclei", label_stnuclei, EvidenceSettings)

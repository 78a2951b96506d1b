"""Methods `paper` and `paper_no_refinement`: arXiv 2604.23481, section 4.1, every step and constant as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd

from stnuclei.clustering.counts import cell_ids
from stnuclei.config.labels import PaperSettings
from stnuclei.labels.paper.neoplastic import CancerRule
from stnuclei.labels.paper.voting import (
    DATABASES,
    VoteBackground,
    VoteTable,
    decide,
    random_votes,
    vote,
    vote_table,
)
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels, cell_table

# A threshold that random genes pass more often than this says little: warn.
RANDOM_LIMIT = 0.05


@dataclass(frozen=True)
class PaperRule:
    """Rule for one sample: both marker tables, the thresholds, and how often chance passes them on its panel."""

    organ: VoteTable
    everywhere: VoteTable
    cancer: CancerRule | None
    cancer_background: tuple[float, float]
    n_genes: int
    min_votes: float
    tissue: str
    unknown: str
    epithelial: str | None
    neoplastic: str | None


def label_by_paper(
    adata: anndata.AnnData, context: LabelContext, settings: PaperSettings, refine: bool = True
) -> Labels:
    """Label clusters by the votes of their top genes, then epithelial clusters by their cancer genes.

    Parameters
    ----------
    adata
        Cells x genes; only the names are read, the expression enters through the context's ranked genes.
    context
        Clusters, ranked genes, markers, taxonomy.
    settings
        Constants of the method.
    refine
        False: the paper's ablation without the neoplastic step (w/o Hier).

    Returns
    -------
    Labels. Confidence is the winner's fraction of the votes, 0 for Unknown.
    """
    rule = _rule(adata, context, settings, refine)
    sizes = context.clusters.loc[context.clusters["cluster"] >= 0, "cluster"].value_counts().sort_index()
    ranked = {name: rows["gene"].tolist() for name, rows in context.ranked_genes.groupby("cluster", sort=True)}
    rows = [_judge(rule, int(name), int(size), ranked.get(name, []), context) for name, size in sizes.items()]
    chance = random_votes(rule.organ, rule.everywhere, rule.n_genes, rule.min_votes, rule.unknown, seed=context.seed)
    evidence = pd.DataFrame(rows).assign(random_decided=chance.decided)
    return Labels(_cells(adata, context, evidence, rule.unknown), evidence, _info(rule, chance))


def _rule(adata: anndata.AnnData, context: LabelContext, settings: PaperSettings, refine: bool) -> PaperRule:
    markers, taxonomy = context.markers, context.taxonomy
    categories = (*markers.categories, taxonomy.unknown.name)
    genes, symbols = list(adata.var_names), list(markers.translate(adata.var_names))
    organ, everywhere = (
        vote_table(
            rows,
            genes,
            symbols,
            categories,
            count=settings.count,
            max_list_size=settings.max_list_size,
            unknown_lineages=settings.unknown_lineages,
        )
        for rows in (markers.for_tissue(context.tissue, settings.shared_organs), markers.rows)
    )
    cancer, background = None, (0.0, 0.0)
    if refine and taxonomy.role("neoplastic"):
        cancer = CancerRule.of(markers, settings.cancer_set, settings.n_cancer_genes, settings.cancer_ratio)
        background = cancer.background(symbols)
    return PaperRule(
        organ=organ,
        everywhere=everywhere,
        cancer=cancer,
        cancer_background=background,
        n_genes=settings.n_genes,
        min_votes=settings.min_votes,
        tissue=context.tissue,
        unknown=taxonomy.unknown.name,
        epithelial=taxonomy.role("epithelial"),
        neoplastic=taxonomy.role("neoplastic"),
    )


def _judge(rule: PaperRule, name: int, size: int, ranked: Sequence[str], context: LabelContext) -> dict[str, Any]:
    """The evidence row of one cluster, decision included."""
    by_database, used = vote(rule.organ, ranked, rule.n_genes), "organ"
    if by_database.sum() < rule.min_votes:
        by_database, used = vote(rule.everywhere, ranked, rule.n_genes), "all"
    scores = by_database.sum(axis=0)
    categories = rule.organ.categories
    enough = scores.sum() >= rule.min_votes
    category = decide(scores, categories, rule.unknown) if enough else rule.unknown
    genes: list[str] = []
    fraction = float("nan")
    if rule.cancer is not None:
        genes, fraction = rule.cancer.overlap(list(context.markers.translate(ranked)))
    refined = category == rule.epithelial and rule.cancer is not None and rule.cancer.passes(fraction)
    decision = rule.neoplastic if refined else category
    row: dict[str, Any] = {"cluster": name, "n_cells": size, "top_genes": ",".join(ranked[: rule.n_genes])}
    row |= {f"score_{c}": s for c, s in zip(categories, scores, strict=True)}
    row |= {
        f"{database}_{c}": by_database[d, k] for d, database in enumerate(DATABASES) for k, c in enumerate(categories)
    }
    row |= {"marker_set": used, "cancer_ratio": fraction, "cancer_genes": ",".join(genes)}
    row |= {"cancer_background": rule.cancer_background[0], "cancer_random_pass": rule.cancer_background[1]}
    confidence = float(scores.max() / scores.sum()) if decision != rule.unknown else 0.0
    why = _why(rule, category, scores, used, fraction)
    return row | {"confidence": confidence, "decision": decision, "why": why}


def _why(rule: PaperRule, category: str, scores: np.ndarray, used: str, fraction: float) -> str:
    """The decision in words."""
    source = f"markers of {rule.tissue}" if used == "organ" else "markers of all organs"
    total = scores.sum()
    if total < rule.min_votes:
        return f"{total:.0f} votes by {source}, fewer than {rule.min_votes:g}: too little evidence"
    tally = ", ".join(f"{c} {s:.0f}" for c, s in zip(rule.organ.categories, scores, strict=True) if s)
    text = f"{category} by {source} ({tally})"
    if category == rule.unknown and (scores == scores.max()).sum() > 1:
        text = f"tie by {source} ({tally})"
    if category != rule.epithelial or rule.cancer is None:
        return text
    sign, end = (">", rule.neoplastic) if rule.cancer.passes(fraction) else ("not >", f"stays {category}")
    return (
        f"{text}; fraction of cancer genes {fraction:.2f} {sign} {rule.cancer.threshold:g}: {end} (the panel's is "
        f"{rule.cancer_background[0]:.2f}; random genes pass {rule.cancer_background[1]:.0%} of the time)"
    )


def _cells(adata: anndata.AnnData, context: LabelContext, evidence: pd.DataFrame, unknown: str) -> pd.DataFrame:
    clusters = context.clusters["cluster"].to_numpy()
    if evidence.empty:
        return cell_table(cell_ids(adata), np.full(adata.n_obs, unknown), np.zeros(adata.n_obs), clusters)
    by_cluster = evidence.set_index("cluster")
    labels = pd.Series(clusters).map(by_cluster["decision"]).fillna(unknown)
    confidence = pd.Series(clusters).map(by_cluster["confidence"]).fillna(0.0)
    return cell_table(cell_ids(adata), labels.to_numpy(), confidence.to_numpy(), clusters)


def _info(rule: PaperRule, chance: VoteBackground) -> dict[str, Any]:
    warnings = []
    if chance.decided > RANDOM_LIMIT:
        warnings.append(
            f"random lists of {rule.n_genes} panel genes get a category {chance.decided:.0%} of the time "
            f"(more than 1 in 20): min_votes {rule.min_votes:g} does not tell evidence from chance here"
        )
    fraction, passing = rule.cancer_background
    if rule.cancer is not None and passing > RANDOM_LIMIT:
        warnings.append(
            f"random lists of {rule.cancer.n_genes} panel genes pass the neoplastic threshold {passing:.0%} of the "
            f"time (more than 1 in 20): {fraction:.0%} of the panel is in set {rule.cancer.set_name}"
        )
    return {
        "random_decided": chance.decided,
        "random_categories": dict(chance.categories),
        "cancer_background": fraction,
        "cancer_random_pass": passing,
        "warnings": warnings,
    }


def label_without_refinement(adata: anndata.AnnData, context: LabelContext, settings: PaperSettings) -> Labels:
    """`label_by_paper` without the neoplastic step, the paper's ablation w/o Hier."""
    return label_by_paper(adata, context, settings, refine=False)


register("paper", label_by_paper, PaperSettings)
register("paper_no_refinement", label_without_refinement, PaperSettings)

"""TopDown: mean expression of a category's genes minus that of control genes (Tirosh et al. 2016)."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd

from stnuclei.clustering.counts import log_normalised
from stnuclei.config.labels import TopdownSettings
from stnuclei.labels.baselines.signatures import GeneSets, category_genes, describe_sets, labels_from_scores
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels


def topdown_scores(
    adata: anndata.AnnData,
    gene_sets: GeneSets,
    *,
    n_controls: int = 100,
    n_bins: int = 25,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every cell for every gene set.

    score(cell, set) = mean over the set's genes of (log expression - mean log expression of the gene's controls); a
    gene's controls are up to `n_controls` genes outside the set from its own bin of average expression (Tirosh et al.
    2016, Science 352:189, doi:10.1126/science.aad0501: 25 bins, 100 controls). It is one sparse product, where
    `scanpy.tl.score_genes` makes a pass a set, and where it fails on panels of a few genes.

    Parameters
    ----------
    adata
        Cells x genes, raw counts.
    gene_sets
        Genes of each category; genes outside the panel are left out.
    n_controls
        Controls of a gene; a panel's bins hold fewer, then all of them are.
    n_bins
        Bins of average expression.
    seed
        Seed of the draw.

    Returns
    -------
    float64 table, cells x categories. A set without a gene on the panel, or that holds the whole panel, scores -inf.
    """
    expression = log_normalised(adata)
    bins = _bins(np.asarray(expression.mean(axis=0)).ravel(), n_bins)
    rng = np.random.default_rng(seed)
    weights = np.zeros((adata.n_vars, len(gene_sets)))
    usable = np.zeros(len(gene_sets), dtype=bool)
    for column, genes in enumerate(gene_sets.values()):
        inside = adata.var_names.isin(list(genes))
        usable[column] = inside.any() and not inside.all()
        if usable[column]:
            weights[:, column] = inside / inside.sum() - _control_weights(inside, bins, n_controls, rng)
    scores = np.where(usable, expression @ weights, -np.inf)
    return pd.DataFrame(scores, index=adata.obs_names, columns=list(gene_sets))


def _bins(average: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin of every gene: equally many genes a bin, from the least expressed up."""
    bins = np.empty(len(average), dtype=np.int64)
    for number, genes in enumerate(np.array_split(np.argsort(average, kind="stable"), min(n_bins, len(average)))):
        bins[genes] = number
    return bins


def _control_weights(inside: np.ndarray, bins: np.ndarray, n_controls: int, rng: np.random.Generator) -> np.ndarray:
    """Weight of every gene as a control of the set, summing to 1."""
    weights = np.zeros(len(inside))
    for number in np.unique(bins[inside]):
        pool = np.flatnonzero((bins == number) & ~inside)
        if len(pool) == 0:  # the set fills the bin: the nearest bins that have other genes stand in
            distance = np.where(inside, np.inf, np.abs(bins - number))
            pool = np.flatnonzero(distance == distance.min())
        for _ in range(int(np.sum(inside & (bins == number)))):
            drawn = pool if len(pool) <= n_controls else rng.choice(pool, n_controls, replace=False)
            weights[drawn] += 1 / (len(drawn) * inside.sum())
    return weights


def label_topdown(adata: anndata.AnnData, context: LabelContext, settings: TopdownSettings) -> Labels:
    """Method `topdown`: the category with the highest `topdown_scores`.

    Cells that express no set more than its controls are Unknown.
    """
    sets = category_genes(context, adata.var_names, settings)
    n_controls = settings.n_controls or (50 if settings.parameters == "package" else 100)
    scores = topdown_scores(adata, sets, n_controls=n_controls, n_bins=settings.n_bins, seed=context.seed)
    return labels_from_scores(adata, context, scores, floor=0.0, info=describe_sets(settings, sets))


register("topdown", label_topdown, TopdownSettings)

"""Pearson correlations of genes, and their relation to abundance and spatial organisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata, t


def pearson_by_gene(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Correlation of each gene over patches.

    Parameters
    ----------
    measured, predicted
        (n, genes) float.

    Returns
    -------
    float64 (genes,): 0 where the prediction is constant, NaN where the measurement is constant or absent, or n < 3.
    """
    if len(measured) < 3:
        return np.full(measured.shape[1], np.nan)
    x, y = (np.asarray(values, np.float64) for values in (measured, predicted))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, yy = (x**2).sum(axis=0), (y**2).sum(axis=0)
    measured_varies = xx > 1e-12
    # A prediction that varies in the last bits of float32 only is constant.
    both = measured_varies & (yy > 1e-10 * np.maximum((np.asarray(predicted, np.float64) ** 2).sum(axis=0), 1e-300))
    r = np.where(measured_varies, 0.0, np.nan)
    r[both] = (x[:, both] * y[:, both]).sum(axis=0) / np.sqrt(xx[both] * yy[both])
    return r


def mean_over_slides(measured: np.ndarray, predicted: np.ndarray, slide: np.ndarray) -> np.ndarray:
    """Correlation of each gene within each slide, averaged over slides, float64 (genes,).

    Pooling the patches would reward a network for stain differences between slides.
    """
    each = [pearson_by_gene(measured[slide == name], predicted[slide == name]) for name in pd.unique(slide)]
    counted = np.sum([~np.isnan(r) for r in each], axis=0)
    total = np.nansum(each, axis=0)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def permuted_scores(
    measured: np.ndarray, predicted: np.ndarray, slide: np.ndarray, *, permutations: int, seed: int
) -> np.ndarray:
    """Null model: correlations after permuting predictions within each slide, (permutations, genes)."""
    rng = np.random.default_rng([seed, 11])
    rows = []
    for _ in range(permutations):
        order = np.arange(len(slide))
        for name in pd.unique(slide):
            rows_of_slide = np.flatnonzero(slide == name)
            order[rows_of_slide] = rng.permutation(rows_of_slide)
        rows.append(mean_over_slides(measured, predicted[order], slide))
    return np.array(rows).reshape(permutations, measured.shape[1])


def summary(genes: pd.DataFrame, r: Sequence[float] | np.ndarray, threshold: float = 0.30) -> dict[str, float]:
    """Means over the gene sets, and how many genes reach the threshold.

    Parameters
    ----------
    genes
        Sets by `stnuclei.expression.genes.gene_sets`, one row a gene.
    r
        Correlation of each gene, NaN where it could not be measured.

    Returns
    -------
    ``r_highly_expressed``, ``r_highly_variable``, ``r_marker``, ``r_all``, ``genes_at_threshold``, ``genes``.
    """
    values = pd.Series(np.asarray(r, np.float64))
    sets = {name: genes[name].to_numpy() for name in ("highly_expressed", "highly_variable", "marker")}
    means = {f"r_{name}": float(values[rows].mean()) for name, rows in sets.items()}
    return {
        **means,
        "r_all": float(values.mean()),
        "genes_at_threshold": int((values >= threshold).sum()),
        "genes": int(values.notna().sum()),
    }


def drivers(table: pd.DataFrame, properties: Sequence[str] = ()) -> pd.DataFrame:
    """Correlation of predictability with spatial organisation, abundance and properties, alone and given the others.

    Parameters
    ----------
    table
        One row a gene: ``r``, ``moran_i``, ``mean`` and the properties; genes without a value are left out of its row.
    properties
        Further columns.

    Returns
    -------
    One row a measure (``moran_i``, ``mean``, properties): genes (n), pearson, spearman, and ``partial``: the Spearman
    correlation with r given the other of the first two measures (of a property: given both), each with its two-sided p.
    """
    given = {"moran_i": ["mean"], "mean": ["moran_i"]} | {name: ["moran_i", "mean"] for name in properties}
    return pd.DataFrame([_driver(table, measure, others) for measure, others in given.items()])


def _driver(table: pd.DataFrame, measure: str, others: Sequence[str]) -> dict[str, Any]:
    used = table[["r", measure, *others]].dropna()
    ranks = {name: rankdata(used[name]) for name in used}
    held = np.array([ranks[name] for name in others])
    plain = correlation(used["r"].to_numpy(), used[measure].to_numpy())
    ranked = correlation(ranks["r"], ranks[measure])
    partial = correlation(_without(ranks["r"], held), _without(ranks[measure], held), held=len(others))
    row = {"measure": measure, "genes": len(used), "pearson": plain[0], "pearson_p": plain[1]}
    return row | {"spearman": ranked[0], "spearman_p": ranked[1], "partial": partial[0], "partial_p": partial[1]}


def correlation(x: np.ndarray, y: np.ndarray, held: int = 0) -> tuple[float, float]:
    """Pearson correlation with its two-sided p (Student's t, n - 2 - held degrees of freedom); NaN where undefined."""
    freedom = len(x) - 2 - held
    x, y = x - x.mean() if len(x) else x, y - y.mean() if len(y) else y
    size = np.sqrt((x**2).sum() * (y**2).sum())
    if freedom < 1 or not size > 0:
        return float("nan"), float("nan")
    r = float(np.clip((x * y).sum() / size, -1, 1))
    value = r * np.sqrt(freedom / max(1 - r**2, 1e-300))
    return r, float(2 * t.sf(abs(value), freedom))


def _without(x: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Residuals of `x` (n,) after a linear fit of `others` (k, n)."""
    varying = others[np.ptp(others, axis=1) > 0] if len(x) else others[:0]
    if len(x) < len(varying) + 2 or not len(varying):
        return x - x.mean() if len(x) else x
    design = np.column_stack([np.ones(len(x)), *varying])
    return x - design @ np.linalg.lstsq(design, x, rcond=None)[0]

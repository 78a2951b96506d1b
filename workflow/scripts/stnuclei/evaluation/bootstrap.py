"""Confidence intervals by resampling patches or slides, for any score that is a function of sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Scores = Callable[[np.ndarray], np.ndarray]


def bootstrap(
    sums: np.ndarray,
    scores: Scores,
    groups: np.ndarray | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of scores under resampling with replacement.

    Parameters
    ----------
    sums
        (N, S) float: what each patch adds to the sums the scores are made of (numerators, denominators, counts).
    scores
        Maps sums (..., S) to scores (..., M).
    groups
        (N,) integers or None: resample whole groups (slides) instead of patches. A mean of few slides is worth
        little: with a single group the interval is NaN.
    n, seed, level
        Number of resamples, seed, and coverage of the interval.

    Returns
    -------
    (M,) float64 lower and upper bounds.
    """
    if groups is not None:
        index = np.unique(groups, return_inverse=True)[1]
        pooled = np.zeros((index.max(initial=-1) + 1, sums.shape[1]))
        np.add.at(pooled, index, sums)
        sums = pooled
    size = len(sums)
    if n < 1 or size == 0 or (groups is not None and size < 2):
        nothing = np.full(np.shape(scores(sums.sum(0))), np.nan)
        return nothing, nothing
    rng = np.random.default_rng(seed)
    draws = np.stack([_weights(rng, size) @ sums for _ in range(n)])
    margin = (1 - level) / 2
    values = scores(draws)
    defined = ~np.isnan(values).all(0)
    low, high = np.full((2, *values.shape[1:]), np.nan)
    if defined.any():
        low[defined], high[defined] = np.nanquantile(values[:, defined], (margin, 1 - margin), axis=0)
    return low, high


def _weights(rng: np.random.Generator, size: int) -> np.ndarray:
    """Number of times that each of `size` items is drawn in one resample."""
    return np.bincount(rng.integers(size, size=size), minlength=size).astype(np.float64)

"""Genes of each cluster ranked by the Wilcoxon rank-sum test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from itertools import pairwise
from math import ceil

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

COLUMNS = ("cluster", "rank", "gene", "score", "pvalue", "logfoldchange")

MAX_CHANGE = 30.0
# Values other than 0 tested at once: memory does not grow with the cells.
BLOCK_VALUES = 100_000_000


def rank_genes(
    expression: sparse.csr_matrix, genes: np.ndarray, clusters: np.ndarray, *, n_ranked: int = 100, threads: int = 1
) -> pd.DataFrame:
    """Rank genes of each cluster against all other cells (illico's Wilcoxon; scanpy's numbers to the last bits).

    No continuity and no tie correction, fold changes from the exponential of means, as `scanpy.tl.rank_genes_groups`
    with ``method="wilcoxon"`` has them by default. Equal scores rank in the panel's order.

    Parameters
    ----------
    expression
        (n, g) log-normalised.
    genes
        (g,) names.
    clusters
        (n,) int; cells below 0 take no part.
    n_ranked
        Ranks kept; all genes where the panel has fewer.
    threads
        Threads of the test.

    Returns
    -------
    cluster (int32), rank (int32, from 1), gene, score (z, float32), pvalue (float64), logfoldchange (float32, log2).
    Empty where fewer than two clusters have cells.
    """
    kept = clusters >= 0
    names, codes = np.unique(clusters[kept], return_inverse=True)
    if len(names) < 2:
        return _empty()
    if not kept.all():
        expression = expression[kept]
    cells = _groups(names, codes)
    tests = [_wilcoxon(block, cells, threads) for block in _gene_blocks(expression)]
    statistics, pvalues, changes = (np.concatenate(parts, axis=1) for parts in zip(*tests, strict=True))
    order = np.argsort(-statistics, axis=1, kind="stable")[:, :n_ranked]
    width = order.shape[1]
    return pd.DataFrame(
        {
            "cluster": np.repeat(names, width).astype(np.int32),
            "rank": np.tile(np.arange(1, width + 1, dtype=np.int32), len(names)),
            "gene": np.asarray(genes).astype(str)[order].ravel(),
            "score": np.take_along_axis(statistics, order, 1).ravel().astype(np.float32),
            "pvalue": np.take_along_axis(pvalues, order, 1).ravel(),
            "logfoldchange": np.take_along_axis(changes, order, 1).ravel().astype(np.float32),
        }
    )


def _gene_blocks(expression: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
    """All cells of some genes at a time."""
    n_genes = expression.shape[1]
    number = min(ceil(max(expression.nnz, 1) / BLOCK_VALUES), n_genes)
    bounds = np.linspace(0, n_genes, number + 1).astype(int)
    for start, end in pairwise(bounds):
        yield expression[:, start:end] if number > 1 else expression


def _groups(names: np.ndarray, codes: np.ndarray) -> pd.DataFrame:
    """Column ``cluster`` of the test's table; names of equal width keep illico's lexical order the numeric one."""
    width = len(str(int(names[-1])))
    labels = pd.Categorical.from_codes(codes, [f"{name:0{width}d}" for name in names])
    return pd.DataFrame({"cluster": labels}, index=pd.RangeIndex(len(codes)).astype(str))


def _wilcoxon(
    expression: sparse.csr_matrix, cells: pd.DataFrame, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z scores, p values and log2 fold changes, each (clusters, genes), clusters in ascending order."""
    from illico import asymptotic_wilcoxon
    from loguru import logger

    logger.disable("illico")
    table = anndata.AnnData(
        expression.tocsc(),
        obs=cells,
        var=pd.DataFrame(index=[f"g{index}" for index in range(expression.shape[1])]),
    )
    with redirect_stderr(StringIO()):  # its own progress bar
        result = asymptotic_wilcoxon(
            table,
            is_log1p=True,
            group_keys="cluster",
            use_continuity=False,
            tie_correct=False,
            exp_post_agg=True,
            n_threads=threads,
        )
    shape = (-1, expression.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        changes = np.log2(result["fold_change"].to_numpy().reshape(shape))
    z = np.nan_to_num(result["z_score"].to_numpy().reshape(shape))
    # A gene absent on one side has no finite fold change.
    changes = np.clip(np.nan_to_num(changes), -MAX_CHANGE, MAX_CHANGE)
    return z, result["p_value"].to_numpy().reshape(shape), changes


def _empty() -> pd.DataFrame:
    types = {"cluster": "int32", "rank": "int32", "gene": str, "score": "float32", "pvalue": float}
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, "float32")) for name in COLUMNS})

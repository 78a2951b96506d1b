"""Moran's I of every gene over a graph of neighbouring patches.

I = n / S0 * sum_ij w_ij z_i z_j / sum_i z_i^2 with z the deviations from the mean and S0 the sum of all weights (Moran
1950); expectation and variance under normality after Cliff & Ord (1981). Rows of weights sum to 1, as libpysal's
``transform = "r"`` and squidpy's default have them; a patch without neighbours has a row of zeros and stays in n.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from scipy.spatial import cKDTree
from scipy.stats import norm

from stnuclei.errors import UserError

_GENES = 256  # columns made dense at a time

GRAPHS = ("queen", "rook", "knn")


def patch_graph(xy: np.ndarray, kind: str = "queen", stride: float = 0.0, k: int = 6) -> sp.csr_matrix:
    """Neighbourhood of patches.

    Parameters
    ----------
    xy
        (n, 2) float64, (x, y) of the patches, any unit.
    kind
        ``queen``: the up to eight patches one stride away, corners too; ``rook``: the up to four that share a side;
        ``knn``: the `k` nearest (spots lie on no square grid). Without a stride, knn.
    stride
        Distance of two patches of the grid in the unit of `xy`; 0 where there is no grid.
    k
        Neighbours for knn.

    Returns
    -------
    CSR float64 (n, n) of 0 and 1, no loops; symmetric for queen and rook.

    Raises
    ------
    UserError
        For an unknown kind.
    """
    if kind not in GRAPHS:
        raise UserError(f"expression.graph: {kind!r} is none of {', '.join(GRAPHS)}")
    n, tree = len(xy), cKDTree(xy)
    if kind == "knn" or not stride:
        k = min(k, n - 1)
        near = tree.query(xy, k=k + 1)[1][:, 1:] if k > 0 else np.zeros((n, 0), int)
        rows = np.repeat(np.arange(n), k)
        return sp.csr_matrix((np.ones(rows.size), (rows, near.ravel())), shape=(n, n))
    # Largest of |dx|, |dy| for queen, their sum for rook: at most one stride, with room for rounding.
    pairs = tree.query_pairs(1.01 * stride, p=np.inf if kind == "queen" else 1, output_type="ndarray")
    both = np.vstack([pairs, pairs[:, ::-1]])
    return sp.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(n, n))


def morans_i(values: np.ndarray | sp.spmatrix, graph: sp.spmatrix) -> pd.DataFrame:
    """Moran's I of every column.

    Parameters
    ----------
    values
        (n, genes), dense or sparse.
    graph
        (n, n) weights; each row is scaled to sum 1.

    Returns
    -------
    One row a column: ``moran_i``, ``z`` and two-sided ``p`` under normality; NaN for a constant column.

    Raises
    ------
    UserError
        If no patch has a neighbour.
    """
    degree = np.asarray(graph.sum(axis=1)).ravel()
    if not degree.any():
        raise UserError("Moran's I: no patch has a neighbour; choose graph knn")
    weights = sp.diags(np.where(degree > 0, 1 / np.where(degree > 0, degree, 1), 0)) @ sp.csr_matrix(graph)
    n, s0 = values.shape[0], weights.sum()
    index = np.concatenate(
        [_index(_dense(values, slice(begin, begin + _GENES)), weights) for begin in range(0, values.shape[1], _GENES)]
    )
    index *= n / s0
    expected = -1 / (n - 1)
    z = (index - expected) / np.sqrt(_variance(weights, n, s0) - expected**2)
    return pd.DataFrame({"moran_i": index, "z": z, "p": 2 * norm.sf(np.abs(z))})


def _dense(values: np.ndarray | sp.spmatrix, columns: slice) -> np.ndarray:
    block = values[:, columns]
    return np.asarray(block if isinstance(block, np.ndarray) else block.todense(), np.float64)


def _index(values: np.ndarray, weights: sp.csr_matrix) -> np.ndarray:
    z = values - values.mean(axis=0)
    square = (z**2).sum(axis=0)
    flat = square <= 1e-12 * np.maximum((values**2).sum(axis=0), 1e-300)
    return np.where(flat, np.nan, (z * (weights @ z)).sum(axis=0) / np.where(flat, 1, square))


def _variance(weights: sp.csr_matrix, n: int, s0: float) -> float:
    """Second moment of I under normality."""
    s1 = ((weights + weights.T).power(2)).sum() / 2
    s2 = ((np.asarray(weights.sum(axis=0)).ravel() + np.asarray(weights.sum(axis=1)).ravel()) ** 2).sum()
    return (n**2 * s1 - n * s2 + 3 * s0**2) / (s0**2 * (n**2 - 1))


def spatial_genes(table: AnnData, *, graph: str = "queen", min_counts: int = 0) -> pd.DataFrame:
    """Abundance and spatial organisation of every gene of a slide.

    Parameters
    ----------
    table
        Patches x genes, from `stnuclei.expression.table`.
    graph
        See `patch_graph`; a table of spots always takes its six nearest neighbours.
    min_counts
        Patches with fewer counts are left out, as they are in training.

    Returns
    -------
    One row a gene: gene, mean and variance of the log-normalised values, fraction_detected (of patches), moran_i, z,
    p.

    Raises
    ------
    UserError
        If fewer than four patches are left.
    """
    used = table[table.obs["total_counts"].to_numpy() >= max(min_counts, 1)]
    if used.n_obs < 4:
        raise UserError(f"Moran's I: {used.n_obs} patches hold {min_counts} counts or more, at least 4 are needed")
    values = sp.csr_matrix(used.X, dtype=np.float64)
    weights = patch_graph(used.obsm["spatial"], graph, float(table.uns["stnuclei"]["stride_um"]))
    mean = np.asarray(values.mean(axis=0)).ravel()
    facts = {
        "gene": table.var_names.astype(str),
        "patches": used.n_obs,
        "mean": mean,
        "variance": np.asarray(values.multiply(values).mean(axis=0)).ravel() - mean**2,
        "fraction_detected": np.asarray((values > 0).mean(axis=0)).ravel(),
    }
    return pd.concat([pd.DataFrame(facts), morans_i(values, weights)], axis=1)

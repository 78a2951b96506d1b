"""Which patches are neighbours."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from stnuclei.errors import UserError

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

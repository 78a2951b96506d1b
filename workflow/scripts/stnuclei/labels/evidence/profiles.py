"""Expression profiles: fractions of counts by gene, summed over groups of cells."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
from scipy import sparse

# Fraction of a profile that a gene keeps where no count was seen: about one count in a cluster's 100,000.
LEAST = 1e-5
_VALUES_AT_ONCE = 2**18  # float32 values of a dense block of cells: 1 MB stays in the cache through all steps of EM


def group_counts(counts: sparse.csr_matrix, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Counts summed over the cells of each group.

    Parameters
    ----------
    counts
        (cells, genes) raw counts.
    groups
        (cells,) int group of each cell, -1 for cells left out.
    n_groups
        Number of groups.

    Returns
    -------
    float64 (n_groups, genes).
    """
    sums = np.zeros((n_groups, counts.shape[1]))
    _add_rows(counts.indptr, counts.indices, counts.data, groups, sums)
    return sums


# A product with a membership matrix would build a sparse result first: ten times slower at 100,000 cells.
@numba.njit(cache=True, nogil=True)
def _add_rows(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, groups: np.ndarray, sums: np.ndarray) -> None:
    for row in range(len(groups)):
        group = groups[row]
        if group < 0:
            continue
        for k in range(indptr[row], indptr[row + 1]):
            sums[group, indices[k]] += data[k]


def fractions(counts: np.ndarray) -> np.ndarray:
    """Fraction of each row's counts by gene; rows without counts stay zero."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts, dtype=np.float64), where=totals > 0)


def without_zeros(profiles: np.ndarray) -> np.ndarray:
    """Profiles in which every gene has at least `LEAST`, rows summing to 1."""
    raised = profiles + LEAST
    return raised / raised.sum(axis=1, keepdims=True)


def shrunken_cells(
    counts: sparse.csr_matrix, groups: np.ndarray, profiles: np.ndarray, weight: float, genes: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Cells shrunk towards their group: their own counts and `weight` counts of the group's profile.

    Parameters
    ----------
    counts
        (cells, genes) raw counts.
    groups
        (cells,) row of `profiles` for each cell, -1 for none.
    profiles
        (groups, genes), rows sum to 1.
    weight
        Counts that the profile is worth.
    genes
        Columns wanted, all by default.

    Yields
    ------
    Rows as a slice and float32 (rows, genes), a block of bounded size at a time.
    """
    wanted = slice(None) if genes is None else genes
    chosen = counts[:, wanted] if genes is not None else counts
    added = np.vstack([weight * profiles[:, wanted], np.zeros((1, chosen.shape[1]))]).astype(np.float32)
    rows = max(_VALUES_AT_ONCE // max(chosen.shape[1], 1), 1)
    for start in range(0, chosen.shape[0], rows):
        block = slice(start, min(start + rows, chosen.shape[0]))
        values = chosen[block].toarray().astype(np.float32, copy=False)
        values += added[groups[block]]
        yield block, values

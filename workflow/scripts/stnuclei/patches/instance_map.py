"""Instance map of one patch: nuclei numbered 1..k in the order of their rows, with centroids."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def number_patch(
    labels: np.ndarray,
    bounds: np.ndarray,
    x0: int,
    y0: int,
    drop_cut: bool,
    slot: np.ndarray,
    out: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the nuclei that a patch shows.

    Parameters
    ----------
    labels
        int32 (P, P): 1 + index of a nucleus in its block, 0 background.
    bounds
        float64 (n, 4): boxes of the block's nuclei, patch_px of the slide.
    x0, y0
        The patch's corner, patch_px of the slide.
    drop_cut
        Leave out nuclei whose outline reaches over the patch's edge.
    slot
        int32 (n + 1,) of zeros, a work array; zeros again on return.
    out
        uint16 (P, P), filled with 0 background and k the k-th nucleus.

    Returns
    -------
    kept : int64 (k,)
        The patch's nuclei, ascending indices in the block.
    centroids : float32 (k, 2)
        Mean (x, y) of their pixels; pixel 0 has its centre at 0.
    cut : int64 (l,)
        Indices of those left out.
    """
    shown = _shown_nuclei(labels, slot)
    is_cut = np.zeros(len(shown), np.bool_)
    if drop_cut:
        size = labels.shape[0]
        for i in range(len(shown)):
            b = bounds[shown[i]]
            is_cut[i] = b[0] < x0 or b[1] < y0 or b[2] > x0 + size or b[3] > y0 + size
    kept, cut = shown[~is_cut], shown[is_cut]
    for i in range(len(cut)):
        slot[cut[i] + 1] = -1
    for i in range(len(kept)):
        slot[kept[i] + 1] = i + 1
    centroids = _renumber(labels, slot, len(kept), out)
    for i in range(len(shown)):
        slot[shown[i] + 1] = 0
    return kept, centroids, cut


@numba.njit(nogil=True, cache=True)
def _shown_nuclei(labels: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """Indices of the nuclei a patch shows, ascending; their slots are left at 1."""
    # As large as it can get: an array that grows in the loop makes the whole loop ten times slower.
    shown, n = np.empty(len(slot) - 1, np.int64), 0
    for r in range(labels.shape[0]):
        last = 0
        for c in range(labels.shape[1]):
            value = labels[r, c]
            if value != last:
                last = value
                if value > 0 and slot[value] == 0:
                    slot[value] = 1
                    shown[n] = value - 1
                    n += 1
    return np.sort(shown[:n])


@numba.njit(nogil=True, cache=True)
def _renumber(labels: np.ndarray, slot: np.ndarray, n: int, out: np.ndarray) -> np.ndarray:
    """Fill `out` with the slots that are above 0; the mean (x, y) of each of the `n` nuclei's pixels."""
    sums = np.zeros((n, 3), np.float64)
    width = labels.shape[1]
    for r in range(labels.shape[0]):
        begin = 0
        while begin < width:
            # Run by run: sums of whole numbers are exact, in whatever steps they are added.
            end = begin + 1
            while end < width and labels[r, end] == labels[r, begin]:
                end += 1
            k = max(slot[labels[r, begin]], 0)
            out[r, begin:end] = k
            if k > 0:
                sums[k - 1, 0] += (begin + end - 1) * (end - begin) / 2
                sums[k - 1, 1] += r * (end - begin)
                sums[k - 1, 2] += end - begin
            begin = end
    return (sums[:, :2] / sums[:, 2:]).astype(np.float32)

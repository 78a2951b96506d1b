"""Patches of an epoch and their order: a function of seed and epoch alone.

Weights after CellViT's oversampling, with counts from the training set at hand where
the official code has PanNuke's written into it. With g the setting `sampling_gamma`:

- tissue:  w(t) = N / (g n_t + (1 - g) N), n_t patches of tissue t, N their sum;
- cell:    w(c) = K / (g N_c + (1 - g) K), N_c patches that show class c, K = sum of N_c;
           a patch showing classes C weighs (1 - g) + g sum over C of w(c), one without nuclei as the lightest other;
- both:    each divided by its largest value, then added.
"""

from __future__ import annotations

import numpy as np

from stnuclei.errors import UserError


def tissue_weights(tissue: np.ndarray, gamma: float) -> np.ndarray:
    """Weight of each patch by how rare its tissue is.

    Parameters
    ----------
    tissue
        Tissue index, integer (N,).
    gamma
        0: all the same, 1: inversely proportional to the tissue's share.

    Returns
    -------
    float64 (N,).
    """
    counts = np.bincount(tissue)
    total = counts.sum()
    return (total / (gamma * counts + (1 - gamma) * total))[tissue]


def cell_weights(presence: np.ndarray, gamma: float) -> np.ndarray:
    """Weight of each patch by how rare the classes it shows are.

    Parameters
    ----------
    presence
        bool (N, n_classes).
    gamma
        0: all patches with nuclei the same, 1: sum of the inverse shares of their classes.

    Returns
    -------
    float64 (N,); all 1 where no patch shows a class.
    """
    shown = presence.sum(axis=0)
    total = shown.sum()
    if total == 0:
        return np.ones(len(presence))
    # A class nobody shows has no influence; its own weight must only be finite.
    per_class = total / np.maximum(gamma * shown + (1 - gamma) * total, 1e-12)
    weights = (1 - gamma) * presence.any(axis=1) + gamma * (presence @ per_class)
    weights[weights == 0] = weights[weights > 0].min()
    return weights


def patch_weights(mode: str, tissue: np.ndarray, presence: np.ndarray, gamma: float) -> np.ndarray | None:
    """Weights of all patches for a sampling mode, none where all count the same.

    Parameters
    ----------
    mode
        ``random``, ``tissue``, ``cell`` or ``cell+tissue``.
    tissue, presence, gamma
        See `tissue_weights` and `cell_weights`.

    Raises
    ------
    UserError
        For another mode.
    """
    if mode == "random":
        return None
    if mode == "tissue":
        return tissue_weights(tissue, gamma)
    if mode == "cell":
        return cell_weights(presence, gamma)
    if mode == "cell+tissue":
        by_tissue, by_cell = tissue_weights(tissue, gamma), cell_weights(presence, gamma)
        return by_tissue / by_tissue.max() + by_cell / by_cell.max()
    raise UserError(f"training.sampling: {mode!r} is not one of random, tissue, cell, cell+tissue")


class Sampler:
    """Order of patches, epoch by epoch.

    Parameters
    ----------
    n_patches
        Patches there are.
    batch_size
        Patches of one optimiser step over all processes. Every batch is full: an epoch has the nearest whole number
        of batches (at least one), so that processes never wait for each other and shapes never change.
    weights
        Weights for drawing with replacement (float64 (n_patches,)); none: every patch once before any comes again.
    samples
        Patches an epoch; none: `n_patches`.
    seed
        Of the draws.
    """

    def __init__(
        self, n_patches: int, batch_size: int, weights: np.ndarray | None, samples: int | None, seed: int
    ) -> None:
        self.n_patches, self.batch_size, self.seed = n_patches, batch_size, seed
        self.steps = max(1, round((samples or n_patches) / batch_size))
        self._cumulated = None if weights is None else np.cumsum(weights) / np.sum(weights)

    def epoch(self, epoch: int) -> np.ndarray:
        """Patch numbers of an epoch, int64 (steps, batch_size); the same on every process."""
        random = np.random.default_rng([self.seed, epoch])
        needed = self.steps * self.batch_size
        if self._cumulated is None:
            rounds = -(-needed // self.n_patches)
            order = np.concatenate([random.permutation(self.n_patches) for _ in range(rounds)])[:needed]
        else:
            order = np.searchsorted(self._cumulated, random.random(needed), side="right")
            order = np.minimum(order, self.n_patches - 1)  # rounding of the last cumulated weight
        return order.astype(np.int64).reshape(self.steps, self.batch_size)

    def share(self, epoch: int, rank: int, processes: int) -> np.ndarray:
        """Patch numbers one process reads, in order, int64 (n,); each batch is cut into equal parts, one a process."""
        order = self.epoch(epoch)
        width = self.batch_size // processes
        return order[:, rank * width : (rank + 1) * width].reshape(-1)

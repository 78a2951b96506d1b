"""A small set in PanNuke's format, painted by the same generator with other stains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.simulate.fields import draw_stain, expose
from stnuclei.simulate.organs import ORGANS
from stnuclei.simulate.paint import paint_tissue
from stnuclei.simulate.sample import fill
from stnuclei.simulate.tissue import Tissue, grow_tissue

PATCH_PX, UM_PER_PX = 256, 0.25
#: Channels of masks.npy before the background.
CHANNELS = ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial")
#: Size in um of the tissue that patches are cut from.
_SIZE_UM = 260.0


def simulate_pannuke(
    out: str | Path,
    seed: int,
    *,
    patches_per_fold: int = 6,
    folds: int = 3,
    tissues: tuple[str, ...] = ("Breast", "Colon", "Kidney"),
    compressed: bool = False,
) -> dict[str, int]:
    """Write folds in PanNuke's layout: ``fold_1/{images,masks}/fold1/{images,types,masks}.npy``.

    Images are float64 (n, 256, 256, 3) in 0..255, masks float64 (n, 256, 256, 6): one channel a class with running
    nucleus ids, the last 1 where no nucleus is. Every fold has its own tissues and its own stains.

    Parameters
    ----------
    out
        Folder that holds the folds; what stands there is replaced.
    seed
        Equal seeds give equal files.
    patches_per_fold, folds
        How many; a patch takes 4.7 MB.
    tissues
        Organs, taken in turn.
    compressed
        Write ``.npz`` instead of ``.npy``, about a twentieth of the size.

    Returns
    -------
    Number of patches by fold.

    Raises
    ------
    UserError
        If a tissue is not known or a number is not positive.
    """
    if patches_per_fold < 1 or folds < 1:
        raise UserError("simulated PanNuke: patches_per_fold and folds must be 1 or more")
    unknown = sorted(set(tissues) - set(ORGANS))
    if unknown or not tissues:
        raise UserError(f"simulated PanNuke: tissues {unknown} are not among {', '.join(ORGANS)}")
    counts = {}
    with atomic_write(out, directory=True) as folder:
        for fold in range(1, folds + 1):
            images, masks, types = _draw_fold([seed, 15, fold], patches_per_fold, tuple(tissues))
            root = Path(folder) / f"fold_{fold}"
            _save(root / "images" / f"fold{fold}" / "images", images, compressed)
            _save(root / "images" / f"fold{fold}" / "types", types, False)
            _save(root / "masks" / f"fold{fold}" / "masks", masks, compressed)
            counts[f"fold{fold}"] = len(images)
    return counts


def _save(path: Path, values: np.ndarray, compressed: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if compressed:
        named: dict[str, Any] = {path.name: values}
        np.savez_compressed(path.with_suffix(".npz"), **named)
    else:
        np.save(path.with_suffix(".npy"), values)


def _draw_fold(entropy: list[int], patches: int, tissues: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, masks and tissue names of one fold; every organ shows one piece of tissue, cut into several patches."""
    images = np.empty((patches, PATCH_PX, PATCH_PX, 3))
    masks = np.empty((patches, PATCH_PX, PATCH_PX, len(CHANNELS) + 1))
    types = np.array([tissues[k % len(tissues)] for k in range(patches)])
    for number, name in enumerate(tissues):
        mine = np.flatnonzero(types == name)
        done = 0
        while done < len(mine):
            piece = np.random.default_rng([*entropy, number, done])
            tissue = grow_tissue(name, (_SIZE_UM, _SIZE_UM), int(piece.integers(2**31)), border=False, dead=0.05)
            picture = paint_tissue(tissue, UM_PER_PX, int(piece.integers(2**31)))
            picture = expose(picture, draw_stain(piece, spread=1.6), piece)
            instances = _instances(tissue, picture.shape[:2])
            for corner in _corners(tissue, instances)[: len(mine) - done]:
                box = np.s_[corner[0] : corner[0] + PATCH_PX, corner[1] : corner[1] + PATCH_PX]
                images[mine[done]] = picture[box]
                masks[mine[done]] = _masks(tissue, instances[box])
                done += 1
    return images, masks, types


def _instances(tissue: Tissue, shape: tuple[int, int]) -> np.ndarray:
    instances = np.zeros(shape, np.uint16)
    for k, nucleus in enumerate(tissue.nuclei):
        fill(instances, nucleus.outline(40) / UM_PER_PX, k + 1)
    return instances


def _corners(tissue: Tissue, instances: np.ndarray) -> list[tuple[int, int]]:
    """Top left corners of disjoint patches, those first that show many nuclei of many classes."""
    classes = np.array(tissue.classes())

    def worth(corner: tuple[int, int]) -> int:
        patch = instances[corner[0] : corner[0] + PATCH_PX, corner[1] : corner[1] + PATCH_PX]
        present = classes[np.unique(patch[patch > 0]) - 1]
        return sum(min(10, int((present == name).sum())) for name in CHANNELS)

    grid = range(0, instances.shape[0] - PATCH_PX + 1, PATCH_PX)
    return sorted(((i, j) for i in grid for j in grid), key=worth, reverse=True)


def _masks(tissue: Tissue, instances: np.ndarray) -> np.ndarray:
    """One channel a class, ids running within the patch; float64 (256, 256, 6)."""
    classes = np.array(tissue.classes())
    masks = np.zeros((*instances.shape, len(CHANNELS) + 1))
    masks[..., -1] = instances == 0
    present = np.unique(instances[instances > 0])
    running = np.zeros(len(classes) + 1)
    running[present] = np.arange(1, len(present) + 1)
    owner = np.concatenate([[""], classes])[instances]
    for channel, name in enumerate(CHANNELS):
        masks[..., channel] = np.where(owner == name, running[instances], 0)
    return masks

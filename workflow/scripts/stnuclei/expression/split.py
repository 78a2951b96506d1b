"""Split into training, validation and test: by donor, or by blocks of tissue within one donor. Fixed by the seed.

``multi_donor``: whole donors are held out for the test, and one more for validation where two or more are left (else
blocks of the training donors' tissue). ``single_donor``: one donor's tissue is cut into square blocks, which go to
training, validation and test. Neighbouring patches look alike, so single patches are never split; and a
patch that shares a pixel with one of a later split (validation, test) is left out of the earlier ones.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stnuclei.config.expression import ExpressionSettings
from stnuclei.errors import UserError

SPLITS = ("train", "validation", "test")


def split_patches(
    patches: pd.DataFrame,
    protocol: str,
    settings: ExpressionSettings,
    *,
    held_out: tuple[str, ...] = (),
    where: str = "expression",
) -> pd.Series:
    """Part of every patch.

    Parameters
    ----------
    patches
        One row a patch: sample, donor, x, y (its centre, um), patch_um, usable (bool: has counts enough).
    protocol
        ``single_donor`` or ``multi_donor``.
    settings
        Fractions, block, seed.
    held_out
        Donors to test on (multi_donor); none: drawn by the seed, as many as `test_fraction` says, at least one.
    where
        The model, for messages.

    Returns
    -------
    ``train``, ``validation``, ``test``, or empty where the patch is in no split; index of `patches`.

    Raises
    ------
    UserError
        If donors are too few or too many for the protocol, a donor is not there, or a split stays empty.
    """
    split = pd.Series("", index=patches.index, dtype=object)
    rng = np.random.default_rng([settings.seed, 10])
    donors = sorted(patches["donor"].unique())
    if protocol == "single_donor":
        if len(donors) > 1:
            raise UserError(f"{where}: single_donor needs samples of one donor, these are of {', '.join(donors)}")
        fractions = {"test": settings.test_fraction, "validation": settings.validation_fraction}
        split[:] = _assign_blocks(patches, fractions, settings.block_patches, rng)
    else:
        split[:] = _assign_donors(patches, donors, _held_out(donors, held_out, settings, rng, where), settings, rng)
    split[~patches["usable"]] = ""
    split = _without_overlap(patches, split)
    for name in SPLITS:
        if (split == name).sum() < 2:
            raise UserError(
                f"{where}: only {(split == name).sum()} patches are left for {name}; give more tissue or donors, or "
                f"set expression.training.block_patches lower (now {settings.block_patches})"
            )
    return split


def _assign_donors(
    patches: pd.DataFrame, donors: list[str], tested: set[str], settings: ExpressionSettings, rng: np.random.Generator
) -> pd.Series:
    split = pd.Series("test", index=patches.index, dtype=object)
    left = [donor for donor in donors if donor not in tested]
    if len(left) > 1:
        watched = left[int(rng.integers(len(left)))]
        split[patches["donor"].isin(set(left) - {watched})] = "train"
        split[patches["donor"] == watched] = "validation"
        return split
    of_donor = patches["donor"] == left[0]
    split[of_donor] = _assign_blocks(
        patches[of_donor], {"validation": settings.validation_fraction}, settings.block_patches, rng
    )
    return split


def _held_out(
    donors: list[str], wanted: tuple[str, ...], settings: ExpressionSettings, rng: np.random.Generator, where: str
) -> set[str]:
    if len(donors) < 2:
        raise UserError(f"{where}: multi_donor needs two donors or more, its samples are all of {donors[0]}")
    absent = sorted(set(wanted) - set(donors))
    if absent:
        raise UserError(f"{where}.held_out: {', '.join(absent)} is no donor of its samples ({', '.join(donors)})")
    if set(wanted) == set(donors):
        raise UserError(f"{where}.held_out: holds out all donors; leave one to learn from")
    if wanted:
        return set(wanted)
    number = min(max(1, round(settings.test_fraction * len(donors))), len(donors) - 1)
    return set(rng.choice(donors, number, replace=False).tolist())


def _assign_blocks(
    patches: pd.DataFrame, fractions: dict[str, float], block: int, rng: np.random.Generator
) -> np.ndarray:
    """Assign whole blocks of tissue until each split has its fraction of the patches; the rest is for training."""
    side = block * patches["patch_um"]
    keys = pd.MultiIndex.from_arrays([patches["sample"], patches["x"] // side, patches["y"] // side])
    code, blocks = pd.factorize(keys)
    sizes = np.bincount(code, patches["usable"], minlength=len(blocks))
    order = rng.permutation(len(blocks))
    assigned = np.full(len(blocks), "train", dtype=object)
    total, position = sizes.sum(), 0
    for name, fraction in fractions.items():
        filled = 0.0
        while filled < fraction * total - 1e-9 and position < len(order) - 1:
            assigned[order[position]] = name
            filled += sizes[order[position]]
            position += 1
    return assigned[code]


def _without_overlap(patches: pd.DataFrame, split: pd.Series) -> pd.Series:
    """Empty the split of patches that share pixels with one of a later split."""
    split = split.copy()
    for earlier, later in (("validation", ("test",)), ("train", ("validation", "test"))):
        for _, of_sample in patches.groupby("sample", observed=True):
            kept, mine = of_sample[split[of_sample.index].isin(later)], of_sample[split[of_sample.index] == earlier]
            if kept.empty or mine.empty:
                continue
            reach = 0.999 * float(of_sample["patch_um"].iloc[0])
            distance = cKDTree(kept[["x", "y"]]).query(mine[["x", "y"]], p=np.inf)[0]
            split[mine.index[distance < reach]] = ""
    return split

"""Truth and prediction read side by side, patch by patch, with flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from stnuclei.errors import UserError
from stnuclei.patches.predictions import PredictionStore
from stnuclei.patches.store import PatchStore

T = TypeVar("T")


class ByPatch(Protocol):
    """Arrays by patch index: of a store, or a list in memory."""

    def __getitem__(self, key: int, /) -> np.ndarray: ...


class PredictedPatches(Protocol):
    """Predictions that scores need: label maps (P, P) and nuclei by patch, as of `PredictionStore`."""

    @property
    def instances(self) -> ByPatch: ...

    def __len__(self) -> int: ...

    def nuclei(self, i: int, /) -> np.ndarray: ...


class TruePatches(Protocol):
    """Truth that scores and figures need, as of `PatchStore`."""

    @property
    def image(self) -> ByPatch: ...

    @property
    def instances(self) -> ByPatch: ...

    @property
    def offset(self) -> np.ndarray: ...

    @property
    def cell_index(self) -> np.ndarray: ...

    @property
    def nucleus_index(self) -> np.ndarray: ...

    @property
    def tissue(self) -> np.ndarray: ...

    @property
    def tissues(self) -> Sequence[str]: ...

    @property
    def um_per_px(self) -> float: ...

    def __len__(self) -> int: ...


def open_patches(patches: TruePatches | str | Path) -> TruePatches:
    """Open a patch store given by its path; one that is open stays."""
    return PatchStore(patches) if isinstance(patches, str | Path) else patches


def open_pair(
    patches: TruePatches | str | Path, predictions: PredictedPatches | str | Path
) -> tuple[TruePatches, PredictedPatches]:
    """Open patch store and prediction store where they are paths, and check that they belong together.

    Raises
    ------
    UserError
        If their numbers of patches or their samples differ, or the patches were cut again since.
    """
    patches = open_patches(patches)
    predictions = PredictionStore(predictions) if isinstance(predictions, str | Path) else predictions
    if len(patches) != len(predictions):
        raise UserError(
            f"predictions hold {len(predictions)} patches and the patch store {len(patches)}: they do not belong "
            "together; predict again for this patch store"
        )
    # Stores in memory have no attributes.
    names = [getattr(store, "attrs", {}).get("sample") for store in (patches, predictions)]
    if None not in names and names[0] != names[1]:
        raise UserError(f"predictions are of sample {names[1]} and patches of {names[0]}: give those of one sample")
    predicted = getattr(predictions, "attrs", {}).get("patches_sha256")
    if predicted and isinstance(patches, PatchStore) and predicted != patches.content_hash:
        raise UserError(f"{patches.path}: was cut again since the predictions were made; predict again for this store")
    return patches, predictions


def each_patch(function: Callable[[int], T], count: int, threads: int = 1) -> Iterator[T]:
    """Results of `function` for 0..count-1 in order; on several threads, never more than a few hundred results ahead.

    Reading, decoding and counting release the interpreter lock for much of the time.
    """
    if threads <= 1:
        yield from map(function, range(count))
        return
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, count, 256):
            yield from pool.map(function, range(start, min(start + 256, count)))


def patch_tissues(patches: TruePatches) -> np.ndarray:
    """Tissue name of every patch, (N,) object."""
    names = np.asarray(list(patches.tissues) or [""], dtype=object)
    return names[np.minimum(np.asarray(patches.tissue[:], int), len(names) - 1)]

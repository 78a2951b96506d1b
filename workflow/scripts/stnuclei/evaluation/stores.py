"""Reading truth and prediction side by side, patch by patch, with flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from stnuclei.errors import UserError

T = TypeVar("T")


class Maps(Protocol):
    """What the scores need of a store: a length and label maps by index."""

    instances: Any

    def __len__(self) -> int: ...


def open_pair(patches: Any, predictions: Any) -> tuple[Any, Any]:
    """Open patch store and prediction store given as paths (or take opened ones) and see that they belong together.

    Raises
    ------
    UserError
        If their numbers of patches or their samples differ.
    """
    if isinstance(patches, str | Path):
        from stnuclei.patches import PatchStore  # deferred: these scores work on label maps without a store, too

        patches = PatchStore(patches)
    if isinstance(predictions, str | Path):
        from stnuclei.patches import PredictionStore

        predictions = PredictionStore(predictions)
    if len(patches) != len(predictions):
        raise UserError(
            f"predictions hold {len(predictions)} patches and the patch store {len(patches)}: they do not belong "
            "together; predict again for this patch store"
        )
    names = [getattr(store, "attrs", {}).get("sample") for store in (patches, predictions)]
    if None not in names and names[0] != names[1]:
        raise UserError(f"predictions are of sample {names[1]} and patches of {names[0]}: give those of one sample")
    return patches, predictions


def each_patch(function: Callable[[int], T], count: int, threads: int = 1) -> Iterator[T]:
    """`function` of 0..count-1 in order; on several threads, never more than a few hundred results ahead.

    Reading, decoding and counting release the interpreter lock for much of the time.
    """
    if threads <= 1:
        yield from map(function, range(count))
        return
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, count, 256):
            yield from pool.map(function, range(start, min(start + 256, count)))


def patch_tissues(patches: Any) -> np.ndarray:
    """Tissue name of every patch, (N,) object."""
    names = np.asarray(list(getattr(patches, "tissues", [])) or [""], dtype=object)
    codes = getattr(patches, "tissue", None)
    codes = np.zeros(len(patches), int) if codes is None else np.asarray(codes[:], int)
    return names[np.minimum(codes, len(names) - 1)]

"""Reading truth and prediction side by side, patch by patch, with flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from stnuclei.errors import UserError
from stnuclei.taxonomy import Taxonomy

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
        from stnuclei.prediction import PredictionStore

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


def nucleus_classes(patches: Any, labels: Any, taxonomy: Taxonomy) -> np.ndarray:
    """Class id of every nucleus row of a patch store.

    Parameters
    ----------
    patches
        Patch store.
    labels
        Path of a labels parquet, or its table (column ``label`` in the order of the sample's table), or ready class
        ids (M,) for the store's nucleus rows.
    taxonomy
        Its classes.

    Returns
    -------
    (M,) int8, -1 Unknown.

    Raises
    ------
    UserError
        If the numbers of rows do not fit.
    """
    total = int(np.asarray(patches.offset[-1:])[0])
    if isinstance(labels, np.ndarray):
        if len(labels) != total:
            raise UserError(f"class ids for {len(labels)} nuclei given, but the patch store holds {total}")
        return labels.astype(np.int8)
    if not isinstance(labels, pd.DataFrame):
        labels = pd.read_parquet(labels, columns=["label"])
    table = np.append(taxonomy.encode(labels["label"].astype(str)), np.int8(-1))
    cells = np.asarray(patches.cell_index[:], np.int64)
    if cells.size and cells.max() >= len(labels):
        raise UserError(
            f"labels hold {len(labels)} cells but the patches refer to cell {cells.max()}: "
            "labels and patches are not of the same sample"
        )
    return table[cells]  # -1, a nucleus without a cell, is the last row: Unknown

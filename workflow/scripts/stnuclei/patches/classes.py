"""A label set looked up for the nuclei of a patch store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.lib
import pyarrow.parquet as pq

from stnuclei.errors import UserError
from stnuclei.patches.store import PatchStore
from stnuclei.taxonomy import Taxonomy


def patch_classes(
    store: PatchStore | str | Path, labels: str | Path | pd.DataFrame | np.ndarray, taxonomy: Taxonomy | str | Path
) -> np.ndarray:
    """Class id of every nucleus row of a store.

    Parameters
    ----------
    store
        The patches: a path, or anything opened that has ``cell_index`` (M,).
    labels
        ``labels/{method}.parquet`` of the same sample, or its table: its rows are the cells that ``cell_index`` points
        to. Or ready class ids (M,), which are passed through.
    taxonomy
        Gives the ids.

    Returns
    -------
    int8 (M,): 1..n, -1 for Unknown and for nuclei without a cell.

    Raises
    ------
    UserError
        If the labels are not there, belong to another sample, or name a class the taxonomy has not.
    """
    store = PatchStore(store) if isinstance(store, str | Path) else store
    cells = np.asarray(store.cell_index[:])
    if isinstance(labels, np.ndarray):
        if len(labels) != len(cells):
            raise UserError(f"class ids for {len(labels)} nuclei given, but the patch store holds {len(cells)}")
        return labels.astype(np.int8)
    where = "labels" if isinstance(labels, pd.DataFrame) else str(labels)
    codes, names = _encoded(labels)
    _check_fit(store, cells, len(codes), where)
    try:
        ids = Taxonomy.load(taxonomy).encode(names)
    except UserError as error:
        raise UserError(f"{where}: {error}; label again or name the taxonomy it was made with") from error
    of_cell = np.append(ids[codes], np.int8(-1)).astype(np.int8)
    return of_cell[cells]  # -1 is the last: Unknown


def _encoded(labels: str | Path | pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Number of the name of each row, and the names."""
    if isinstance(labels, pd.DataFrame):
        codes, names = pd.factorize(labels["label"].astype(str))
        return codes, [str(name) for name in names]
    try:
        column = pq.read_table(labels, columns=["label"])["label"]
    except (OSError, pyarrow.lib.ArrowException, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"{labels}: cannot be read as labels ({reason}); write it with label_cells") from error
    encoded = column.combine_chunks().dictionary_encode()
    names = ["" if name is None else name for name in encoded.dictionary.to_pylist()]
    return encoded.indices.to_numpy(zero_copy_only=False), names


def _check_fit(store: Any, cells: np.ndarray, rows: int, where: str) -> None:
    expected = getattr(store, "attrs", {}).get("n_cells")
    highest = int(cells.max(initial=-1))
    if (expected is not None and rows != expected) or highest >= rows:
        cut = f"a sample of {expected:,} cells" if expected is not None else f"one of {highest + 1:,} cells or more"
        raise UserError(
            f"{where}: has {rows:,} rows but {getattr(store, 'path', 'the patch store')} was cut from {cut}; "
            f"give the labels of sample {getattr(store, 'sample', 'the patches are of')}"
        )

"""A label set looked up for the nuclei of a patch store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.lib
import pyarrow.parquet as pq

from stnuclei.errors import UserError
from stnuclei.patches.store import PatchStore
from stnuclei.taxonomy import Taxonomy


def patch_classes(
    store: PatchStore | str | Path, labels_parquet: str | Path, taxonomy: Taxonomy | str | Path
) -> np.ndarray:
    """Class id of every nucleus row of a store.

    Parameters
    ----------
    store
        The patches.
    labels_parquet
        ``labels/{method}.parquet`` of the same sample: its rows are the cells that ``cell_index`` points to.
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
    store = store if isinstance(store, PatchStore) else PatchStore(store)
    try:
        labels = pq.read_table(labels_parquet, columns=["label"])["label"]
    except (OSError, pyarrow.lib.ArrowException, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"{labels_parquet}: cannot be read as labels ({reason}); write it with label_cells") from error
    cells = store.cell_index
    expected = store.attrs.get("n_cells")
    if (expected is not None and len(labels) != expected) or int(cells.max(initial=-1)) >= len(labels):
        raise UserError(
            f"{labels_parquet}: has {len(labels):,} rows but {store.path} was cut from a sample of "
            f"{expected if expected is not None else int(cells.max()) + 1:,} cells; give the labels of sample "
            f"{store.sample}"
        )
    encoded = labels.combine_chunks().dictionary_encode()
    names = [taxonomy_name if taxonomy_name is not None else "" for taxonomy_name in encoded.dictionary.to_pylist()]
    try:
        ids = Taxonomy.load(taxonomy).encode(names)
    except UserError as error:
        raise UserError(f"{labels_parquet}: {error}; label again or name the taxonomy it was made with") from error
    of_cell = np.append(ids[encoded.indices.to_numpy(zero_copy_only=False)], np.int8(-1)).astype(np.int8)
    return of_cell[cells]  # -1 is the last: Unknown

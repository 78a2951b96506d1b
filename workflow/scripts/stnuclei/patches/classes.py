"""Labels of the nuclei of a patch store, looked up in a label set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow.lib
import pyarrow.parquet as pq

from stnuclei.errors import UserError
from stnuclei.patches.store import PatchStore
from stnuclei.taxonomy import Taxonomy


class NucleusRows(Protocol):
    """Nuclei that labels are looked up for: the table row of every nucleus, as `PatchStore` has it."""

    @property
    def cell_index(self) -> np.ndarray: ...  # (M,) int32, -1 where a nucleus has no cell


def patch_classes(
    store: NucleusRows | str | Path, labels: str | Path | pd.DataFrame | np.ndarray, taxonomy: Taxonomy | str | Path
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
    if isinstance(labels, np.ndarray):
        if len(labels) != len(store.cell_index):
            raise UserError(
                f"class ids for {len(labels)} nuclei given, but the patch store holds {len(store.cell_index)}"
            )
        return labels.astype(np.int8)
    return nucleus_labels(store, labels, taxonomy).classes


@dataclass(frozen=True)
class NucleusLabels:
    """Labels of the nucleus rows of a patch store.

    Parameters
    ----------
    classes
        int8 (M,): class id of the most probable class, -1 for Unknown and for nuclei without a cell.
    allowed
        int32 (M,): bit c is set where class c is allowed (`Taxonomy.encode_sets`), 0 for Unknown; None where no nucleus
        has alternatives.
    confidence
        float32 (M,), 0..1; 1 where the label set has none.
    """

    classes: np.ndarray
    allowed: np.ndarray | None
    confidence: np.ndarray

    @cached_property
    def single(self) -> np.ndarray:
        """The classes as sets of one member, int32 (M,), as in `allowed`."""
        return np.where(self.classes > 0, np.int32(1) << self.classes.astype(np.int32).clip(0), 0).astype(np.int32)


def nucleus_labels(
    store: NucleusRows | str | Path, labels: str | Path | pd.DataFrame, taxonomy: Taxonomy | str | Path
) -> NucleusLabels:
    """Label, alternatives and confidence of every nucleus row of a store; parameters and errors of `patch_classes`."""
    store = PatchStore(store) if isinstance(store, str | Path) else store
    cells = np.asarray(store.cell_index[:])
    where = "labels" if isinstance(labels, pd.DataFrame) else str(labels)
    table = _columns(labels)
    _check_fit(store, cells, len(table), where)
    taxonomy = Taxonomy.load(taxonomy)
    alternatives = table["alternatives"].to_numpy() if "alternatives" in table else np.array([""])
    try:
        classes = taxonomy.encode(table["label"])
        allowed = taxonomy.encode_sets(table["label"], alternatives) if (alternatives != "").any() else None
    except UserError as error:
        raise UserError(f"{where}: {error}; label again or name the taxonomy it was made with") from error
    confidence = table["confidence"].to_numpy(np.float32) if "confidence" in table else np.ones(len(table), np.float32)
    # A nucleus without a cell has index -1, the last row: Unknown.
    return NucleusLabels(
        np.append(classes, np.int8(-1)).astype(np.int8)[cells],
        None if allowed is None else np.append(allowed, np.int32(0)).astype(np.int32)[cells],
        np.append(confidence, np.float32(0))[cells],
    )


def _columns(labels: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Columns label, and alternatives and confidence where the label set has them."""
    names = ["label", "alternatives", "confidence"]
    if isinstance(labels, pd.DataFrame):
        table = labels[[name for name in names if name in labels]]
    else:
        try:
            file = pq.ParquetFile(labels, page_checksum_verification=True)
            _check_names(file.schema_arrow, names)
            table = file.read(columns=[n for n in names if n == "label" or n in file.schema_arrow.names]).to_pandas()
        except (OSError, ValueError, pyarrow.lib.ArrowException, KeyError) as error:
            reason = str(error).splitlines()[0][:120]
            raise UserError(f"{labels}: cannot be read as labels ({reason}); write it with label_cells") from error
        if "label" not in table:
            raise UserError(f"{labels}: cannot be read as labels (it has no column label); write it with label_cells")
    text = {name: table[name].fillna("").astype(str) for name in ("label", "alternatives") if name in table}
    return table.assign(**text)


def _check_names(schema: pyarrow.Schema, names: list[str]) -> None:
    """Refuse a column that is described but not there: of a changed name no checksum of the format tells.

    Raises
    ------
    KeyError
        With the column.
    """
    described = {column["field_name"] for column in (schema.pandas_metadata or {}).get("columns", ())}
    if lost := described.intersection(names).difference(schema.names):
        raise KeyError(f"its column {sorted(lost)[0]} is damaged")


def _check_fit(store: Any, cells: np.ndarray, rows: int, where: str) -> None:
    expected = getattr(store, "attrs", {}).get("n_cells")
    highest = int(cells.max(initial=-1))
    if (expected is not None and rows != expected) or highest >= rows:
        cut = f"a sample of {expected:,} cells" if expected is not None else f"one of {highest + 1:,} cells or more"
        raise UserError(
            f"{where}: has {rows:,} rows but {getattr(store, 'path', 'the patch store')} was cut from {cut}; "
            f"give the labels of sample {getattr(store, 'sample', 'the patches are of')}"
        )

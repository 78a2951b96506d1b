"""Manual annotation of a sample's cells: read in the classes of a taxonomy, or as a label table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stnuclei.errors import UserError
from stnuclei.resources import resource
from stnuclei.taxonomy import Taxonomy

# The last is what a first column without a name becomes: the row names of R's write.csv.
ID_NAMES = ("cell_id", "cell id", "barcode", "cell_barcode", "cell", "cellid", "id", "unnamed: 0")
#: Fraction of a file's cells below which a sample that lacks the others is warned of.
_KNOWN = 0.95
LABEL_NAMES = ("label", "cell_type", "celltype", "cell type", "annotation", "cluster", "group", "class")


def read_annotation(
    path: str | Path,
    mapping: str | Path | None = None,
    taxonomy: str | Path | Taxonomy = "pannuke",
    *,
    sample: str = "",
    subject: str = "annotation",
    advice: str = "add it to the mapping file (column annotation_map); {unknown} leaves it out of the scores",
) -> pd.DataFrame:
    """Read the annotated class of each cell.

    Parameters
    ----------
    path
        csv, tsv (either may be gzipped), parquet or xlsx with a column of cell ids (cell_id, barcode, ...) and one of
        labels (label, cell_type, cluster, group, ...); ``file.csv#column`` names another column. A sheet of an xlsx is
        named as ``file.xlsx#sheet``; without, the only sheet that has both columns. Or an AnnData (h5ad, zarr; a
        SpatialData store with one table) with the column of its ``obs``: ``file.h5ad#column``.
    mapping
        File with a column ``label`` (the annotation's names) and one of classes (named after the taxonomy, or
        ``class``); or a shipped mapping's name (``janesick2023_breast``); None: the names are classes already.
    taxonomy
        The classes.
    sample, subject, advice
        Used in messages: the sample, the table's name, and what to do about a name without a class.

    Returns
    -------
    cell_id (str), label (class of the taxonomy, or its Unknown: left out of scores), one row a cell.

    Raises
    ------
    UserError
        If the file, a column or a name's class is missing, or a cell is annotated twice differently.
    """
    taxonomy, where = Taxonomy.load(taxonomy), f"sample {sample}: {subject}" if sample else subject
    cells = _read_cells(str(path), where)
    cells = cells.drop_duplicates()
    doubled = cells["cell_id"][cells["cell_id"].duplicated()]
    if len(doubled):
        raise UserError(f"{where} {path}: cell {doubled.iloc[0]!r} has more than one label ({len(doubled)} such rows)")
    classes = _read_mapping(mapping, taxonomy, where)
    unmapped = sorted(set(cells["name"]) - set(classes))
    if unmapped:
        raise UserError(
            f"{where} {path}: no class for {', '.join(map(repr, unmapped[:6]))}{' ...' if len(unmapped) > 6 else ''}: "
            + advice.format(unknown=taxonomy.unknown.name)
        )
    return pd.DataFrame({"cell_id": cells["cell_id"], "label": cells["name"].map(classes)}).reset_index(drop=True)


def annotation_table(
    annotation: pd.DataFrame, cells: Sequence[str], taxonomy: str | Taxonomy = "pannuke"
) -> pd.DataFrame:
    """Label table of a sample from its annotation: one row a cell, in the sample's order.

    Parameters
    ----------
    annotation
        ``cell_id`` and ``label`` (see `read_annotation`), in any order.
    cells
        Ids of the sample's cells.

    Returns
    -------
    cell_id, label (Unknown where the annotation says nothing), confidence (float32: 1, or 0 where it says nothing),
    cluster (int32, -1), alternatives (empty).
    """
    unknown = Taxonomy.load(taxonomy).unknown.name
    known = annotation.set_index("cell_id")["label"]
    ids = pd.Index([str(cell) for cell in cells])
    label = known.reindex(ids)
    return pd.DataFrame(
        {
            "cell_id": ids.to_numpy(),
            "label": label.fillna(unknown).to_numpy(),
            "confidence": label.notna().to_numpy().astype(np.float32),
            "cluster": np.full(len(ids), -1, np.int32),
            "alternatives": np.full(len(ids), ""),
        }
    )


def check_cells(annotation: pd.DataFrame, cells: Sequence[str], where: str) -> list[str]:
    """Compare the cells that a file names with a sample's.

    Parameters
    ----------
    annotation
        ``cell_id`` (see `read_annotation`).
    cells
        Ids of the sample's cells.
    where
        Begins the message: sample and file.

    Returns
    -------
    Warnings: none, or one with both counts where more than 5 % of the file's cells are not in the sample.

    Raises
    ------
    UserError
        If none is, or if most of the file's cells are not in the sample and most of the sample's not in the file: two
        runs number their cells alike, so that some ids of another sample's file are always known.
    """
    ids = pd.Index([str(cell) for cell in cells])
    named = annotation["cell_id"].astype(str)
    known = int(named.isin(ids).sum())
    verb = "are" if known else "is"
    counts = (
        f"{f'only {known:,}' if known else 'none'} of its {len(named):,} cells {verb} among the sample's {len(ids):,}"
    )
    if not known or (known < len(named) / 2 and known < len(ids) / 2):
        example = f" (e.g. {named.iloc[0]!r} against {ids[0]!r})" if len(named) and len(ids) else ""
        raise UserError(f"{where}: {counts}{example}; is it of this sample? Cell ids must be those of the run")
    if known >= _KNOWN * len(named):
        return []
    return [f"{where}: {counts}; the others are left out"]


def _read_cells(path: str, where: str) -> pd.DataFrame:
    """Columns cell_id and name (the file's own name of the label), text without spaces around."""
    file, _, column = path.partition("#")
    if Path(file).suffix in (".h5ad", ".zarr"):
        table = _read_obs(Path(file), column, where)
        ids, names = table["cell_id"], table["name"]
    elif column and Path(file).suffix != ".xlsx":
        table = _read_table(file, where, column)
        ids, names = table[_column(table, ID_NAMES)], table[column]
    else:
        table = _read_table(path, where)
        ids, names = table[_column(table, ID_NAMES)], table[_column(table, LABEL_NAMES)]
    cells = pd.DataFrame({"cell_id": ids.astype(str).str.strip(), "name": names.astype(str).str.strip()})
    return cells[(cells["name"] != "") & (cells["name"] != "nan")]


def _read_obs(path: Path, column: str, where: str) -> pd.DataFrame:
    """Cell ids and a column of ``obs`` of an AnnData or a SpatialData store; the counts are not read."""
    if not path.exists():
        raise UserError(f"{where}: {path} does not exist")
    try:
        obs = _obs_of(path)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{where} {path}: cannot be read as AnnData: {error}") from None
    if column not in obs:
        known = ", ".join(map(str, obs.columns[:8]))
        raise UserError(f"{where} {path}: name the column of obs as {path.name}#column; obs has {known}")
    ids = obs["cell_id"] if "cell_id" in obs else obs.index
    return pd.DataFrame(
        {"cell_id": np.asarray(ids).astype(str), "name": obs[column].astype(object).fillna("").to_numpy()}
    )


def _obs_of(path: Path) -> pd.DataFrame:
    from anndata.io import read_elem  # heavy: annotations are mostly tables of text

    if path.suffix == ".h5ad":
        import h5py

        with h5py.File(path) as file:
            return read_elem(file["obs"])
    import zarr

    group = zarr.open_group(path, mode="r")
    stored: Any = group["tables"] if "tables" in group else None
    tables = list(stored.group_keys()) if stored is not None else []
    if len(tables) > 1:
        raise ValueError(f"it has {len(tables)} tables ({', '.join(tables)}), not one")
    return read_elem(group[f"tables/{tables[0]}/obs" if tables else "obs"])


def _read_table(path: str, where: str, column: str = "") -> pd.DataFrame:
    """The file as text columns, with a column of ids and one of labels."""
    name, _, sheet = path.partition("#")
    file = Path(name)
    if not file.is_file():
        raise UserError(f"{where}: {file} does not exist")
    kind = "".join(file.suffixes[-2:]).lower().removesuffix(".gz").rsplit(".", 1)[-1]
    try:
        if kind == "xlsx":
            return _sheet(pd.read_excel(file, sheet_name=None, dtype=str), sheet, file, where)
        if kind == "parquet":
            table = pd.read_parquet(file)
        elif kind in ("csv", "tsv", "txt"):
            table = pd.read_csv(file, sep="," if kind == "csv" else "\t", dtype=str, keep_default_na=False)
        else:
            raise UserError(f"{where} {file}: ending .{kind} is not read; give csv, tsv, parquet, xlsx, h5ad or zarr")
    except (ValueError, OSError) as error:
        raise UserError(f"{where} {file}: cannot be read as {kind}: {error}") from None
    if column and column in table and _column(table, ID_NAMES) is not None:
        return table
    if column or not _has_both(table):
        raise UserError(
            f"{where} {file}: needs a column of cell ids (cell_id, barcode) and one of labels "
            f"({column or 'label, cell_type, cluster, group'}); found {', '.join(map(str, table.columns[:8]))}"
        )
    return table


def _sheet(sheets: dict[str, pd.DataFrame], wanted: str, file: Path, where: str) -> pd.DataFrame:
    fitting = [name for name, table in sheets.items() if _has_both(table)]
    chosen = [wanted] if wanted else fitting
    if len(chosen) != 1 or chosen[0] not in fitting:
        raise UserError(
            f"{where} {file}: name the sheet as {file.name}#sheet; sheets with cell ids and labels: "
            f"{', '.join(fitting) or 'none'}"
        )
    return sheets[chosen[0]].dropna(how="all")


def _column(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    by_lower = {str(column).strip().lower(): column for column in table.columns}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _has_both(table: pd.DataFrame) -> bool:
    return _column(table, ID_NAMES) is not None and _column(table, LABEL_NAMES) is not None


def _read_mapping(mapping: str | Path | None, taxonomy: Taxonomy, where: str) -> dict[str, str]:
    """Annotation name -> class; the classes stand for themselves."""
    classes = {name: name for name in (*taxonomy.names, taxonomy.unknown.name)}
    if mapping is None:
        return classes
    path = Path(mapping)
    if not path.is_file() and path.suffix == "":
        path = resource("annotations", f"{mapping}.tsv")
    if not path.is_file():
        raise UserError(f"{where}: mapping file {path} does not exist")
    table = pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t", dtype=str, keep_default_na=False)
    column = next((name for name in (taxonomy.name, "class") if name in table), None)
    if "label" not in table or column is None:
        raise UserError(
            f"{where}: mapping file {path} needs columns 'label' and {taxonomy.name!r} (or 'class'); "
            f"found {', '.join(table.columns)}"
        )
    for name, target in zip(table["label"], table[column], strict=True):
        if target not in (*taxonomy.names, taxonomy.unknown.name):
            raise UserError(f"{where}: mapping file {path} maps {name!r} to {target!r}, no class of {taxonomy.name}")
    return classes | dict(zip(table["label"].str.strip(), table[column], strict=True))

"""HEST-1k's metadata table: which samples are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stnuclei.errors import UserError, first_line

_COLUMNS = ("id", "organ", "st_technology")


def select_hest(
    table: str | Path,
    ids: Sequence[str] = (),
    organs: Sequence[str] = (),
    technology: str = "Xenium",
    species: str | None = None,
) -> pd.DataFrame:
    """Choose samples from the dataset's metadata table.

    Parameters
    ----------
    table
        ``HEST_v*.csv`` of the dataset.
    ids, organs
        Which ones; empty: all. Letter case does not matter.
    technology
        Value of ``st_technology``.
    species
        Value of ``species``, such as ``Homo sapiens``; None: any.

    Returns
    -------
    The chosen rows, all columns, in the order of `ids` or of the table.

    Raises
    ------
    UserError
        If the table is damaged, an id or organ is not in it, an id is of another technology, or nothing is left.
    """
    path = Path(table)
    try:
        rows = pd.read_csv(path, encoding="utf-8-sig", dtype={"id": str})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error, 100)}); give HEST-1k's metadata table") from error
    missing = [name for name in _COLUMNS if name not in rows]
    if missing:
        raise UserError(f"{path}: has no column {', '.join(missing)}; give HEST-1k's metadata table")
    rows = rows[_wanted(path, rows, "organ", organs)] if organs else rows
    rows = _by_id(path, rows, ids, technology) if ids else rows[rows["st_technology"] == technology]
    if species:
        rows = rows[rows["species"] == species]
    if rows.empty:
        raise UserError(
            f"{path}: no {technology} sample fits organ {', '.join(organs) or 'any'}, species {species or 'any'}"
        )
    return rows.reset_index(drop=True)


def _wanted(path: Path, rows: pd.DataFrame, column: str, values: Sequence[str]) -> pd.Series:
    folded = rows[column].astype(str).str.casefold()
    unknown = [value for value in values if value.casefold() not in set(folded)]
    if unknown:
        known = ", ".join(sorted(rows[column].dropna().unique())[:30])
        raise UserError(f"{path}, column {column}: {', '.join(unknown)} is not in it; known: {known}")
    return folded.isin([value.casefold() for value in values])


def _by_id(path: Path, rows: pd.DataFrame, ids: Sequence[str], technology: str) -> pd.DataFrame:
    by_id = rows.set_index(rows["id"].str.casefold(), drop=False)
    unknown = [key for key in ids if key.casefold() not in by_id.index]
    if unknown:
        raise UserError(f"{path}, column id: {', '.join(unknown)} is not among the samples (of the chosen organs)")
    chosen = by_id.loc[[key.casefold() for key in ids]]
    other = chosen[chosen["st_technology"] != technology]
    if len(other):
        row = other.iloc[0]
        raise UserError(f"{path}: {row['id']} is {row['st_technology']}, not {technology}; leave it out")
    return chosen

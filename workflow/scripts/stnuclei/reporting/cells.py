"""Score tables as cells of a page: value and spread, interval and published figure in smaller words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.reporting.content import Cell, Table
from stnuclei.taxonomy import Taxonomy

_AIDS = ("_low", "_high", "_paper", "_sd")
_ASIDE = ("unknown", "other", "missed")
_SHORT = {
    "bpq": "bPQ",
    "mpq": "mPQ",
    "bpq_patches": "bPQ, mean of patches",
    "mpq_patches": "mPQ, mean of patches",
    "pq": "PQ",
    "dice": "Dice",
    "jaccard": "Jaccard",
    "f1": "F1",
    "macro_f1": "macro F1",
    "matched_f1": "F1 of pairs",
    "ece": "ECE",
}


def number(value: Any) -> str:
    """A number as one reads it: whole ones with separators, shares with four digits, nothing for NaN."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return "\N{EN DASH}"
    if float(value) == int(value) and (abs(value) > 1 or isinstance(value, int)):
        return f"{int(value):,}"
    return f"{value:.4f}" if abs(value) < 1.5 else f"{value:,.3f}" if abs(value) < 100 else f"{value:,.1f}"


def read_table(path: Path) -> pd.DataFrame:
    """A tsv of the results, empty where there is none or nothing in it."""
    try:
        return pd.read_csv(path, sep="\t")
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()


def score_table(
    frame: pd.DataFrame,
    title: str = "",
    note: str = "",
    taxonomy: Taxonomy | None = None,
    link: Callable[[str, str], str] = lambda column, value: "",
    folded: bool = False,
) -> Table:
    """A table of scores; intervals, spreads and published figures stand small in their metric's cell.

    Parameters
    ----------
    frame
        As the workflow writes it: ``{metric}_sd``, ``{metric}_slide_low``, ``{metric}_paper`` ... beside the metrics.
    title, note, folded
        Of the table.
    taxonomy
        Colours the column ``class``.
    link
        (column, value) -> place of the page the cell leads to, empty for none.
    """
    frame = _without_nothing(_one_where_equal(frame))
    names = [name for name in frame if not name.endswith(_AIDS) and not name.startswith("paper_")]
    names.sort(key=_ASIDE.__contains__)  # stable: scores first, what was left out of them last
    rows = [[_cell(row, name, taxonomy, link) for name in names] for row in frame.to_dict("records")]
    return Table([heading(name) for name in names], rows, title, note, folded)


def heading(name: str) -> str:
    """A column's name as one reads it."""
    if name in _SHORT:
        return _SHORT[name]
    return name.replace("_", " ").replace("f1 ", "F1 ").replace("pq ", "PQ ")


def _without_nothing(frame: pd.DataFrame) -> pd.DataFrame:
    """Without columns that hold nothing, and without ``runs`` where each model is one."""
    frame = frame.drop(columns=[name for name in frame if frame[name].isna().all()])
    return frame.drop(columns="runs") if "runs" in frame and (frame["runs"] == 1).all() else frame


def _one_where_equal(frame: pd.DataFrame) -> pd.DataFrame:
    """One row where both policies say the same."""
    if "policy" not in frame or frame.empty:
        return frame
    others = [name for name in frame if name != "policy" and not name.endswith(_AIDS)]
    keys = frame[others].round(4).astype(str).agg("|".join, axis=1)
    policies = frame.groupby(keys, sort=False)["policy"].transform(lambda p: " = ".join(dict.fromkeys(p)))
    return frame.assign(policy=policies)[~keys.duplicated()]


def _cell(row: Mapping[str, Any], name: str, taxonomy: Taxonomy | None, link: Callable[[str, str], str]) -> Cell:
    value = row[name]
    is_number = not isinstance(value, str)
    color = ""
    if taxonomy is not None and name == "class" and value in (*taxonomy.names, taxonomy.unknown.name):
        color = taxonomy.color_of(value)
    text = number(value)
    if (spread := _found(row, f"{name}_sd")) is not None:
        text += f" \N{PLUS-MINUS SIGN} {spread:.4f}"
    return Cell(text, _notes(row, name), color, "" if is_number else link(name, value), is_number)


def _notes(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Interval, and published figure, where they are."""
    notes = []
    for unit in ("slide", "patch"):
        low, high = _found(row, f"{name}_{unit}_low"), _found(row, f"{name}_{unit}_high")
        if low is not None and high is not None:
            notes.append(f"{low:.3f}\N{EN DASH}{high:.3f}")
            break
    paper = _found(row, f"{name}_paper")
    paper = _found(row, f"paper_{name}") if paper is None else paper
    if paper is not None:
        counted = float(row[name]).is_integer() and paper >= 1
        notes.append(f"[{int(paper):,}]" if counted else f"[{number(paper)}]")
    return tuple(notes)


def _found(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value is None or isinstance(value, str) or math.isnan(value) else value


def plain_table(columns: Iterable[str], rows: Iterable[Iterable[Any]], title: str = "", **more: Any) -> Table:
    """A table of plain values; cells that are given as `Cell` stay."""
    made = [
        [one if isinstance(one, Cell) else Cell(number(one), number=not isinstance(one, str)) for one in row]
        for row in rows
    ]
    return Table(list(columns), made, title, **more)

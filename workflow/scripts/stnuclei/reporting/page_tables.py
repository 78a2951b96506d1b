"""Tables of the results as tables of a page: value and spread, interval and published figure below in small."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.evaluation.formatting import ScoreText, few_note, format_frame, heading, number
from stnuclei.reporting.content import Entry, Table
from stnuclei.taxonomy import Taxonomy


def read_table(path: Path) -> pd.DataFrame:
    """Read a tsv of the results; empty where the file is absent or empty."""
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
        (column, value) -> path of the page the cell links to, empty for none.
    """
    columns = format_frame(frame)
    rows = [
        [_cell(name, text, taxonomy, link) for name, text in zip(columns, row, strict=True)]
        for row in zip(*columns.values(), strict=True)
    ]
    note = " ".join(sentence for sentence in (note, few_note(columns)) if sentence)
    return Table([heading(name) for name in columns], rows, title, note, folded)


def _cell(name: str, text: ScoreText, taxonomy: Taxonomy | None, link: Callable[[str, str], str]) -> Entry:
    color = ""
    if taxonomy is not None and name == "class" and text.value in (*taxonomy.names, taxonomy.unknown.name):
        color = taxonomy.color_of(text.value)
    target = "" if text.is_number else link(name, text.value)
    return Entry(text.value, tuple(text.notes()), color, target, text.is_number)


def plain_table(columns: Iterable[str], rows: Iterable[Iterable[Any]], title: str = "", **more: Any) -> Table:
    """A table of plain values; `Entry` objects stay as they are."""
    made = [
        [
            value if isinstance(value, Entry) else Entry(number(value), number=not isinstance(value, str))
            for value in row
        ]
        for row in rows
    ]
    return Table(list(columns), made, title, **more)

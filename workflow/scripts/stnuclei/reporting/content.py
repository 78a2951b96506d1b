"""Content of a report page: pictures, facts, links, and the tables of the results with spread and interval in small."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.evaluation.formatting import ScoreText, few_note, format_frame, heading, number
from stnuclei.provenance.publish import publishable_text
from stnuclei.taxonomy import Taxonomy


@dataclass(frozen=True)
class Picture:
    """A picture file, with the words below it and for those who do not see it."""

    path: Path
    caption: str
    wide: bool = True


@dataclass(frozen=True)
class Entry:
    """Entry of a table: the value, smaller lines below it, a class colour before it, a page it links to."""

    text: str
    notes: tuple[str, ...] = ()
    color: str = ""
    link: str = ""
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of entries under a heading; `folded` tables open on a click."""

    columns: list[str]
    rows: list[list[Entry]]
    title: str = ""
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Bar:
    """One line of a composition: fractions of classes, which sum to one."""

    name: str
    fractions: list[tuple[str, str, float]]  # class, colour, fraction


@dataclass
class Section:
    """A part of a page under its own heading."""

    title: str
    text: str = ""
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.pictures or self.tables or self.bars)


@dataclass
class Page:
    """A page: its path without ending (``index``, ``samples/breast``), title, facts in a line, and sections."""

    path: str
    title: str
    lead: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Id of the page in a report that is one file."""
        return self.path.replace("/", "--")


def published_page(page: Page) -> Page:
    """Page as it may be published: no secrets in URLs, no absolute paths in any of its texts."""
    show = publishable_text

    def table(item: Table) -> Table:
        rows = [[replace(entry, text=show(entry.text), notes=tuple(map(show, entry.notes))) for entry in row]
                for row in item.rows]  # fmt: skip
        return replace(item, rows=rows, note=show(item.note))

    def section(item: Section) -> Section:
        pictures = [replace(picture, caption=show(picture.caption)) for picture in item.pictures]
        return replace(item, text=show(item.text), pictures=pictures, tables=[table(entry) for entry in item.tables])

    return replace(
        page,
        lead=show(page.lead),
        facts=[(name, show(value)) for name, value in page.facts],
        warnings=[show(warning) for warning in page.warnings],
        sections=[section(item) for item in page.sections],
    )


def picture(folder: Path, name: str, caption: str, wide: bool = True) -> list[Picture]:
    """List of one picture, empty where there is no such file."""
    path = folder / name
    return [Picture(path, caption, wide)] if path.is_file() else []


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

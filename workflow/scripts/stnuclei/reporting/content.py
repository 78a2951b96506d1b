"""Content of a report page: pictures, tables, facts, and links between pages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from stnuclei.provenance.publish import publishable_text


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

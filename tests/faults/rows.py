"""Rows of the drill's table, and files broken for a moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """Row of the table; `wrong` counts outcomes that must not be."""

    stage: str
    fault: str
    outcome: str
    wrong: int


@dataclass(frozen=True)
class Place:
    """A bit of a file."""

    file: Path
    byte: int
    bit: int

    @contextmanager
    def broken(self, fault: str) -> Iterator[None]:
        """The file with this bit changed, or ``cut short`` before it; whole again afterwards."""
        whole = self.file.read_bytes()
        changed = bytearray(whole[: self.byte] if fault == "cut short" else whole)
        if fault != "cut short":
            changed[self.byte] ^= 1 << self.bit
        # A file of its own: the whole one may have other names by hard links.
        self.file.unlink()
        self.file.write_bytes(changed)
        try:
            yield
        finally:
            self.file.write_bytes(whole)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| stage | fault | outcome |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.stage} | {row.fault} | {row.outcome} |" for row in rows)])


def write_page(page: Path, rows: list[Row], known: list[str]) -> None:
    """Put the rows into the page's table, in the place of those of the same stages."""
    begin, end = "<!-- table of the drill -->", "<!-- end of the table -->"
    head, rest = page.read_text().split(begin)
    old, tail = rest.split(end)
    drilled = {row.stage for row in rows}
    kept = [line.strip("| ").split(" | ") for line in old.splitlines() if line.startswith("| ") and "---" not in line]
    others = [Row(*cells, 0) for cells in kept if cells[0] in known and cells[0] not in drilled]
    ordered = sorted([*others, *rows], key=lambda row: known.index(row.stage))
    page.write_text(f"{head}{begin}\n{table(ordered)}\n{end}{tail}")

"""Tables of scores: read, put beside the published figures, written exactly as tsv and legibly as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stnuclei.evaluation.formatting import few_note, format_frame
from stnuclei.files import atomic_write
from stnuclei.resources import resource
from stnuclei.tables import read_table


@lru_cache
def published() -> dict[str, Any]:
    """Content of the file: ``table1``, ``table2``, ``table3`` (row -> metric -> value), ``rows``, ``source``."""
    with open(resource("published.yaml")) as file:
        return yaml.safe_load(file)


def published_row(table: str, name: str) -> tuple[str, dict[str, Any]]:
    """Find the paper's row for one of our names (split, label method, or the paper's own name).

    Returns
    -------
    The paper's name of the row and its figures; ``("", {})`` where it has none.
    """
    content = published()
    row = name if name in content[table] else content["rows"][table].get(name, "")
    return row, content[table].get(row, {})


def read_scores(pairs: Iterable[Sequence[str]], paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read the files that the scoring rules wrote.

    Parameters
    ----------
    pairs
        (model, set) of each file.
    paths
        The files.

    Returns
    -------
    Their rows with ``model`` and ``sample`` added; no columns at all where there is no file.
    """
    tables = [
        read_table(path).assign(model=model, sample=name) for (model, name), path in zip(pairs, paths, strict=True)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def footnotes(note: str, warnings: Iterable[str], *further: str) -> str:
    """Note of a table, further ones, and below them the warnings of the configuration."""
    return "\n\n".join([note, *further, *(f"**Note:** {warning}." for warning in warnings)])


def write_table(frame: pd.DataFrame, tsv: str | Path, md: str | Path, title: str = "", note: str = "") -> None:
    """Write a table as tsv (all columns, full precision) and as markdown for reading (`readable`)."""
    with atomic_write(tsv) as aside:
        frame.to_csv(aside, sep="\t", index=False)
    blocks = [
        f"## {title}\n" if title else "",
        as_markdown(frame) + "\n",
        f"\n{note}\n" if (note := _note(frame, note)) else "",
    ]
    with atomic_write(md) as aside:
        aside.write_text("\n".join(block for block in blocks if block))


def as_markdown(frame: pd.DataFrame) -> str:
    """Markdown of `readable`, numbers flush right and as formatted (tabulate would shorten 0.8910)."""
    align = ["right" if all(cell.is_number for cell in column) else "left" for column in format_frame(frame).values()]
    return readable(frame).to_markdown(index=False, disable_numparse=True, colalign=align if len(frame) else None)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Text table: value +- spread over runs (interval) [paper's figure]; see `format_frame`."""
    table = format_frame(frame)
    return pd.DataFrame({name.replace("_", " "): [cell.line() for cell in column] for name, column in table.items()})


def _note(frame: pd.DataFrame, note: str) -> str:
    """Note of a table with the explanation of its marks."""
    return "\n\n".join(sentence for sentence in (few_note(format_frame(frame)), note) if sentence)

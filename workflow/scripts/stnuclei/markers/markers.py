"""Marker facts of PanglaoDB and CellMarker, in the categories of a taxonomy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.errors import UserError, suggestion
from stnuclei.markers.symbols import Symbols
from stnuclei.markers.table_files import FileStates, file_states, read_marker_file
from stnuclei.resources import resource
from stnuclei.taxonomy import Taxonomy

PANGLAODB, CELLMARKER = "PanglaoDB", "CellMarker"


@dataclass(frozen=True)
class Markers:
    """Marker facts: gene, cell type, organ, and how often a database lists them.

    Parameters
    ----------
    rows
        One fact a row: symbol, database, organ (PanglaoDB's organ, or CellMarker's ``class:type``), cell_type, category
        (a class of the taxonomy, or its Unknown), votes (bool: the name says something of lineage), malignant (bool:
        name of a malignant cell), from_tumour (bool: CellMarker sampled it in a tumour), n_rows, n_papers,
        min_list_size (genes of the shortest single-paper list it comes from; 0 curated), ubiquitousness, sensitivity,
        specificity (PanglaoDB, 0..1, NaN elsewhere).
    tissues
        Tissue -> (PanglaoDB organs of its own, organs every tissue shares, CellMarker ``class:type`` patterns).
    tissue_names
        Lower-case tissue name or alias -> tissue.
    cancer_sets
        Name -> genes: ``A3`` literal, ``CANCERSEA``, cleaned ``REC`` and ``REC2``.
    taxonomy
        The taxonomy the categories are of.
    symbols
        Approved symbols and aliases.
    """

    rows: pd.DataFrame
    tissues: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]
    tissue_names: Mapping[str, str]
    cancer_sets: Mapping[str, frozenset[str]]
    taxonomy: Taxonomy
    symbols: Symbols

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Classes that some marker can vote for, in the taxonomy's order, without Unknown."""
        present = set(self.rows.loc[self.rows["votes"], "category"])
        return tuple(name for name in self.taxonomy.names if name in present)

    def alias(self, symbol: str) -> str:
        """Approved symbol of a gene name (the name itself where HGNC knows none)."""
        return self.symbols.alias(symbol)

    def translate(self, genes: Iterable[str]) -> np.ndarray:
        """Approved symbols of gene names, object array of the same length."""
        return self.symbols.translate(genes)

    def tissue(self, name: str) -> str:
        """Canonical tissue of a name or alias, any case, ``_`` for a space allowed.

        Raises
        ------
        UserError
            If the tissue map has no such tissue.
        """
        key = name.strip().lower().replace("_", " ")
        if key in self.tissue_names:
            return self.tissue_names[key]
        raise UserError(
            f"tissue {name!r} is not in the tissue map; {suggestion(key, [*self.tissue_names, *self.tissues])}"
        )

    def for_tissue(self, tissue: str, shared: bool = True) -> pd.DataFrame:
        """The facts of one tissue's organs, with the organs every tissue shares.

        PanglaoDB's own organ alone is degenerate (Mammary gland knows epithelial cells only), hence `shared`.

        Raises
        ------
        UserError
            If the tissue is not in the tissue map.
        """
        organs, common, patterns = self.tissues[self.tissue(tissue)]
        panglao = (self.rows["database"] == PANGLAODB) & self.rows["organ"].isin([*organs, *(common if shared else ())])
        tissues = {name for name in self.rows["organ"].unique() if _is_in(name, patterns)}
        cellmarker = (self.rows["database"] == CELLMARKER) & self.rows["organ"].isin(tissues)
        return self.rows[panglao | cellmarker]


def _is_in(organ: str, patterns: Iterable[str]) -> bool:
    """True where CellMarker's ``class:type`` matches a pattern ``class:*`` or ``class:type,type``."""
    tissue_class, _, tissue_type = organ.partition(":")
    for pattern in patterns:
        wanted, _, types = pattern.partition(":")
        if wanted == tissue_class and (types == "*" or tissue_type in types.split(",")):
            return not (types == "*" and re.search(r"fetal|embryo", tissue_type.lower()))
    return False


def load_markers(folder: str | Path | None = None, taxonomy: str | Path | Taxonomy = "pannuke") -> Markers:
    """Read the derived marker tables.

    Parameters
    ----------
    folder
        Folder of the tables; the shipped ``resources/markers`` by default.
    taxonomy
        Name, file or object. Its own rules map a cell-type name ahead of the shipped ones, its category map carries
        the shipped categories over to its classes.

    Returns
    -------
    Markers

    Raises
    ------
    UserError
        If a table is missing or damaged, or a name of a cell type has no category.
    """
    taxonomy = Taxonomy.load(taxonomy)
    folder = Path(folder) if folder else resource("markers")
    facts, names, sets, symbols = _read_tables(folder, file_states(folder))
    types = _classify(names, taxonomy)
    rows = facts.merge(types, on=["database", "cell_type"], how="left", validate="many_to_one")
    organs, aliases = _tissue_map(folder)
    return Markers(rows, organs, aliases, sets, taxonomy, symbols)


#: Facts of genes, names of cell types, cancer sets by name, gene symbols.
_Tables = tuple[pd.DataFrame, pd.DataFrame, dict[str, frozenset[str]], Symbols]


@lru_cache(maxsize=4)
def _read_tables(
    folder: Path, states: FileStates
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, frozenset[str]], Symbols]:
    """Taxonomy-free part of `load_markers`, cached by the files' `states`: tests and notebooks call it many times."""
    panglao = read_marker_file(folder, "panglaodb.tsv.gz").assign(
        database=PANGLAODB, from_tumour=0, n_rows=1, n_papers=0
    )
    panglao["min_list_size"] = 0
    cellmarker = read_marker_file(folder, "cellmarker.tsv.gz").assign(database=CELLMARKER)
    rows = pd.concat([panglao, cellmarker], ignore_index=True)
    rows["from_tumour"] = rows["from_tumour"].astype(bool)
    for column in ("ubiquitousness", "sensitivity", "specificity"):
        rows[column] = pd.to_numeric(rows[column], errors="coerce")
    genes = read_marker_file(folder, "cancer_sets.tsv.gz")
    sets = {name: frozenset(genes.loc[genes[name] == 1, "symbol"]) for name in genes.columns[1:]}
    names = read_marker_file(folder, "cell_types.tsv.gz")
    _check_names(folder, rows, names)
    return rows, names, sets, Symbols.load(folder)


def _check_names(folder: Path, rows: pd.DataFrame, names: pd.DataFrame) -> None:
    """Refuse names of cell types without a category, or with two: their genes would vote for nothing, or twice."""
    table = folder / "cell_types.tsv.gz"
    known = pd.MultiIndex.from_frame(names[["database", "cell_type"]])
    if known.has_duplicates:
        raise UserError(f"markers: {table} names {' '.join(known[known.duplicated()][0])} twice; keep one row")
    lacking = pd.MultiIndex.from_frame(rows[["database", "cell_type"]]).difference(known)
    if len(lacking):
        raise UserError(
            f"markers: {table} has no category for {len(lacking):,} cell types, such as {' '.join(lacking[0])}; "
            "rebuild it with python -m stnuclei.markers.build, or add their rows"
        )


def _classify(names: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Class of each cell-type name: the taxonomy's own rules first, then the shipped category carried over."""
    rules = [(re.compile(pattern), target) for pattern, target in taxonomy.rules]
    category, votes = [], []
    for row in names.itertuples(index=False):
        target = next((t for pattern, t in rules if pattern.search(row.cell_type.lower())), None)
        category.append(target or taxonomy.category(row.category))
        votes.append(bool(target) or bool(row.votes))
    table = names[["database", "cell_type"]].assign(category=category, votes=votes)
    return table.assign(malignant=names["malignant"].astype(bool))


#: Organs asked first, organs every tissue shares, and CellMarker's tissues, of one tissue.
Organs = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _tissue_map(folder: Path) -> tuple[dict[str, Organs], dict[str, str]]:
    table = read_marker_file(folder, "tissue_map.tsv", dtype=str)
    tissues, names = {}, {}
    for row in table.itertuples(index=False):
        organs, shared, cellmarker = (
            tuple(entry for entry in text.split(mark) if entry) for text, mark in zip(row[2:5], ";;|", strict=True)
        )
        tissues[row.tissue] = (organs, shared, cellmarker)
        for name in (row.tissue, *row.aliases.split(";")):
            if name:
                names[name.lower().replace("_", " ")] = row.tissue
    return tissues, names

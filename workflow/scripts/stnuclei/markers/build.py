"""Make the marker tables in resources/markers from the original downloads.

``python -m stnuclei.markers.build --out resources/markers`` repeats them byte for byte.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stnuclei.files import atomic_write
from stnuclei.markers.name_rules import NameRules
from stnuclei.markers.sources import load_sources, read_cancersea, read_cellmarker, read_panglaodb
from stnuclei.markers.symbols import Symbols
from stnuclei.resources import resource

TABLES = ("panglaodb.tsv.gz", "cellmarker.tsv.gz", "cancersea.tsv.gz", "cell_types.tsv.gz", "cancer_sets.tsv.gz")
# A gene is dropped from the cleaned cancer sets where its immune and connective papers are this often its epithelial.
LINEAGE_RATIO = 3
_CARCINOMA = re.compile(
    r"carcinoma|breast|lung|prostate|bladder|ovarian|colo|gastric|stomach|pancrea|hepato|liver|renal|kidney|cholangio"
    r"|biliary|cervical|thyroid|esophag|head and neck|nasopharyn|endometri|skin|ductal"
)
_NOT_CARCINOMA = re.compile(r"stem|initiating|propagating|progenitor|glio|melanoma|sarcoma|mesotheli|lymph|leuk")


def build_tables(sources: Path, originals: dict[str, str] | None = None) -> dict[str, pd.DataFrame]:
    """Make every derived table.

    Parameters
    ----------
    sources
        The folder with ``sources.yaml``, ``name_rules.tsv`` and the HGNC tables.
    originals
        Other paths or URLs by database (``panglaodb``, ``cellmarker``, ``cancersea``).

    Returns
    -------
    File name -> table, all columns as written.
    """
    symbols, rules = Symbols.load(sources), NameRules.load(sources / "name_rules.tsv")
    entries = load_sources(sources / "sources.yaml", originals)
    with tempfile.TemporaryDirectory() as cache:
        files = {name: entry.fetch(Path(cache)) for name, entry in entries.items()}
        panglao = panglaodb_table(read_panglaodb(files["panglaodb"]), symbols)
        rows = cellmarker_rows(read_cellmarker(files["cellmarker"]), symbols)
        cancersea = read_cancersea(files["cancersea"])
    cancersea["symbol"] = symbols.translate(cancersea["symbol"])
    names = cell_type_table({"PanglaoDB": panglao["cell_type"], "CellMarker": rows["cell_name"]}, rules)
    tables = (
        panglao,
        cellmarker_table(rows),
        cancersea.drop_duplicates().sort_values(["state", "symbol"]),
        names,
        cancer_sets(rows, cancersea, names),
    )
    return dict(zip(TABLES, tables, strict=True))


def panglaodb_table(rows: pd.DataFrame, symbols: Symbols) -> pd.DataFrame:
    """PanglaoDB's human facts: symbol, organ, cell_type, ubiquitousness, sensitivity, specificity (human, 0..1)."""
    table = pd.DataFrame(
        {
            "symbol": symbols.translate(rows["official gene symbol"]),
            "organ": rows["organ"].replace("NA", ""),
            "cell_type": rows["cell type"],
            "ubiquitousness": rows.get("ubiquitousness index", ""),
            "sensitivity": rows.get("sensitivity_human", ""),
            "specificity": rows.get("specificity_human", ""),
        }
    ).replace({"ubiquitousness": {"NA": ""}, "sensitivity": {"NA": ""}, "specificity": {"NA": ""}})
    return table.sort_values(["symbol", "organ", "cell_type"], kind="stable").drop_duplicates(
        ["symbol", "organ", "cell_type"]
    )


def cellmarker_rows(rows: pd.DataFrame, symbols: Symbols) -> pd.DataFrame:
    """CellMarker's rows with an approved `symbol` (from Symbol, else from the marker's own name) and `list_size`.

    ``list_size`` is the number of distinct genes one paper lists for one cell name and tissue; 0 where no paper is
    given (companies' antibodies are single facts). Long lists are bulk results of one study, not curated markers.
    """
    named = rows["Symbol"].where(rows["Symbol"] != "", rows["marker"])
    rows = rows.assign(symbol=symbols.translate(named))
    known = (rows["Symbol"] != "") | rows["symbol"].isin(symbols.approved)
    rows = rows[known & (rows["symbol"] != "") & (rows["symbol"] != "NA")]
    key = ["PMID", "tissue_class", "tissue_type", "cell_name"]
    size = rows.groupby(key)["symbol"].transform("nunique").where(rows["PMID"] != "", 0)
    return rows.assign(list_size=size.astype(int), organ=rows["tissue_class"] + ":" + rows["tissue_type"])


def cellmarker_table(rows: pd.DataFrame) -> pd.DataFrame:
    """CellMarker's facts: symbol, organ (class:type), cell_type, from_tumour (0/1), n_rows, n_papers, min_list_size."""
    rows = rows.assign(
        from_tumour=(rows["cell_type"] == "Cancer cell").astype(int), paper=rows["PMID"].where(rows["PMID"] != "")
    )
    grouped = rows.groupby(["symbol", "organ", "cell_name", "from_tumour"], sort=True)
    table = grouped.agg(n_rows=("symbol", "size"), n_papers=("paper", "nunique"), min_list_size=("list_size", "min"))
    return table.reset_index().rename(columns={"cell_name": "cell_type"})


def cell_type_table(names: dict[str, pd.Series], rules: NameRules) -> pd.DataFrame:
    """Each database's cell types by the name rules: database, cell_type, category, votes, malignant, rule."""
    entries = []
    for database, column in sorted(names.items()):
        for cell_type in sorted(set(column)):
            rule = rules.rule_of(cell_type)
            entries.append((database, cell_type, rule.category, int(rule.votes), int(rule.malignant), rule.name))
    return pd.DataFrame(entries, columns=["database", "cell_type", "category", "votes", "malignant", "rule"])


def cancer_sets(rows: pd.DataFrame, cancersea: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Cancer gene sets, one row a gene, 0/1 columns.

    ``A3``: CellMarker's rows of ``Cancer cell`` type and all of CancerSEA, as the paper's words read. ``CANCERSEA``:
    that part alone (CC BY-NC). ``REC2``: genes listed under names of malignant solid-tumour cells, without those that
    other lineages own (`LINEAGE_RATIO`). ``REC``: the same from carcinomas only and without stem-cell names.
    """
    lookup = names[names["database"] == "CellMarker"].set_index("cell_type")
    rows = rows.assign(category=rows["cell_name"].map(lookup["category"]), rule=rows["cell_name"].map(lookup["rule"]))
    malignant = rows[rows["rule"] == "malignant"]
    text = (malignant["cell_name"] + " " + malignant["cancer_type"]).str.lower()
    carcinoma = malignant[text.str.contains(_CARCINOMA) & ~text.str.contains(_NOT_CARCINOMA)]
    other_lineage = _other_lineage(rows)
    literal = set(rows.loc[rows["cell_type"] == "Cancer cell", "symbol"]) | set(cancersea["symbol"])
    sets = {
        "A3": literal,
        "CANCERSEA": set(cancersea["symbol"]),
        "REC": set(carcinoma["symbol"]) - other_lineage,
        "REC2": set(malignant["symbol"]) - other_lineage,
    }
    genes = sorted(set().union(*sets.values()))
    return pd.DataFrame({"symbol": genes} | {n: [int(g in members) for g in genes] for n, members in sets.items()})


def _other_lineage(rows: pd.DataFrame) -> set[str]:
    """Genes with at least `LINEAGE_RATIO` times as many immune and connective papers as (normal) epithelial ones."""
    papers = rows[rows["PMID"] != ""]

    def count(rows_of: pd.DataFrame) -> pd.Series:
        return rows_of.groupby("symbol")["PMID"].nunique()

    epithelial = count(papers[(papers["category"] == "Epithelial") & (papers["cell_type"] == "Normal cell")])
    other = count(papers[papers["category"] == "Inflammatory"]).add(
        count(papers[papers["category"] == "Connective"]), fill_value=0
    )
    limit = LINEAGE_RATIO * epithelial.reindex(other.index).fillna(0).clip(lower=1)
    return set(other.index[other >= limit])


def as_bytes(table: pd.DataFrame) -> bytes:
    """A table as gzipped tsv, the same bytes each time (no name and no time in the header)."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0, compresslevel=9) as file:
        file.write(table.to_csv(sep="\t", index=False, lineterminator="\n").encode())
    return buffer.getvalue()


def build_markers(out: Path, sources: Path, originals: dict[str, str] | None = None) -> dict[str, int]:
    """Write every derived table into `out`; returns rows by file name."""
    tables = build_tables(sources, originals)
    for name, table in tables.items():
        with atomic_write(out / name) as path:
            path.write_bytes(as_bytes(table))
    return {name: len(table) for name, table in tables.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Rebuild from the command line."""
    parser = argparse.ArgumentParser(prog="python -m stnuclei.markers.build", description=__doc__)
    parser.add_argument("--sources", type=Path, default=None, help="folder with sources.yaml and the rules")
    parser.add_argument("--out", type=Path, required=True, help="folder the tables are written to")
    for name in ("panglaodb", "cellmarker", "cancersea"):
        parser.add_argument(f"--{name}", help=f"path or URL of the {name} original instead of the one in sources.yaml")
    options = parser.parse_args(arguments)
    given = {name: value for name in ("panglaodb", "cellmarker", "cancersea") if (value := getattr(options, name))}
    for name, count in build_markers(options.out, options.sources or resource("markers"), given).items():
        print(f"{name}: {count:,} rows")


if __name__ == "__main__":
    main()

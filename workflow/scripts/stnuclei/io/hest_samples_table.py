"""HEST-1k's metadata table: samples chosen from it, and the paper's samples table.

``python -m stnuclei.io.hest_samples_table HEST_v1_1_0.csv hest_data > config/paper/samples.tsv``

The 51 human Xenium slides of nine organs are the paper's training set, the other eight, of four organs, its Seg.-Eval
(the paper gives the counts, HEST-1k's table the slides that add up to them). The last row is its Cls.-Eval, the breast
section that 10x annotated, which HEST-1k holds without the annotation as NCBI785.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stnuclei.config.samples import COLUMNS
from stnuclei.errors import UserError, first_line

#: HEST-1k's organ -> tissue of the marker tables, for the organs the paper trains on.
TRAINED = {
    "Bowel": "Bowel",
    "Breast": "Breast",
    "Kidney": "Kidney",
    "Liver": "Liver",
    "Lung": "Lung",
    "Ovary": "Ovarian",
    "Pancreas": "Pancreatic",
    "Prostate": "Prostate",
    "Skin": "Skin",
}
#: The same for the organs that are only tested on.
HELD_OUT = {"Bone": "Bone", "Brain": "Brain", "Heart": "Heart", "Lymphoid": "Lymph node"}
#: HEST-1k's finer `tissue` where it names another tissue of the marker tables; the paper, too, speaks of the colon.
FINER = {"Bowel": {"colon": "Colon"}, "Lymphoid": {"bone marrow": "Bone marrow", "tonsil": "Tonsil"}}
NEEDED = ("id", "organ", "tissue", "disease_state", "patient", "dataset_title")
#: The annotated section as 10x distributes it, and what HEST-1k calls it; config/paper/README.md says where to get it.
ANNOTATED = {
    "sample": "breast_rep1",
    "platform": "xenium",
    "path": "xenium_breast_rep1",
    "tissue": "Breast",
    "split": "cls_eval",
    "disease": "cancer",
    "annotation": "xenium_breast_rep1/Cell_Barcode_Type_Matrices.xlsx#Xenium R1 Fig1-5 (supervised)",
    "annotation_map": "janesick2023_breast",
}
ANNOTATED_ID = "NCBI785"
_COLUMNS = ("id", "organ", "st_technology")


def paper_samples(metadata: str | Path, folder: str) -> pd.DataFrame:
    """Rows of samples.tsv for the paper's run.

    Parameters
    ----------
    metadata
        HEST-1k's table, one row a sample.
    folder
        The dataset's folder (``hest_data``) as it shall stand in the table.

    Returns
    -------
    The columns of samples.tsv as text: training slides, slides of held-out organs, each in the order of ids, and the
    annotated breast slide.

    Raises
    ------
    UserError
        If a column is missing or an organ is not one of the paper's thirteen.
    """
    chosen = select_hest(metadata, technology="Xenium", species="Homo sapiens").sort_values("id")
    absent = [column for column in NEEDED if column not in chosen.columns]
    if absent:
        raise UserError(f"HEST-1k table: column {', '.join(absent)} is missing; use assets/HEST_v1_1_0.csv of HEST-1k")
    unknown = sorted(set(chosen["organ"]) - set(TRAINED) - set(HELD_OUT))
    if unknown:
        raise UserError(f"HEST-1k table: organ {', '.join(unknown)} is not in the paper's split; take out its rows")
    rows = chosen.to_dict("records")
    table = [_row(row, folder) for row in rows]
    table += [{**ANNOTATED, "donor": _donor(row)} for row in rows if row["id"] == ANNOTATED_ID]
    order = ["train", "seg_eval", "cls_eval"]
    return (
        pd.DataFrame(table, columns=list(COLUMNS))
        .fillna("")
        .sort_values("split", key=lambda split: split.map(order.index), kind="stable", ignore_index=True)
    )


def _row(row: dict[str, object], folder: str) -> dict[str, str]:
    organ = str(row["organ"])
    held_out = organ in HELD_OUT
    tissue = HELD_OUT[organ] if held_out else TRAINED[organ]
    tissue = FINER.get(organ, {}).get(str(row["tissue"]).lower(), tissue)
    return {
        "sample": str(row["id"]),
        "platform": "hest",
        "path": folder,
        "tissue": tissue,
        "split": "seg_eval" if held_out else "train",
        "donor": _donor(row),
        "disease": "normal" if row["disease_state"] == "Healthy" else str(row["disease_state"]).lower(),
        "hest_id": str(row["id"]),
    }


def _donor(row: dict[str, object]) -> str:
    """A donor's name that is unique over studies: HEST-1k counts patients within each study."""
    patient = row["patient"]
    if not isinstance(patient, str):
        return ""
    return f"{row['dataset_title']}/{patient.replace(' ', '').lower()}".replace("\t", " ")


def main(arguments: list[str]) -> int:
    """Run as a program; see the module's docstring."""
    if len(arguments) != 2 or not Path(arguments[0]).is_file():
        print("usage: python -m stnuclei.io.hest_samples_table HEST_v1_1_0.csv FOLDER_OF_THE_DATA", file=sys.stderr)
        return 2
    try:
        table = paper_samples(arguments[0], arguments[1])
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    table.to_csv(sys.stdout, sep="\t", index=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))


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

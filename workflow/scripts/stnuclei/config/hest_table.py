"""Write the paper's samples table from HEST-1k's metadata table.

``python -m stnuclei.config.hest_table HEST_v1_1_0.csv hest_data > config/paper/samples.tsv``

The 51 human Xenium slides of nine organs are the paper's training set, the other eight, of four organs, its Seg.-Eval
(the paper gives the counts, HEST-1k's table the slides that add up to them).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from stnuclei.config.samples import COLUMNS
from stnuclei.errors import UserError

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
#: The same for the organs that are only tested on; Lymphoid is told apart by HEST-1k's finer `tissue`.
HELD_OUT = {"Bone": "Bone", "Brain": "Brain", "Heart": "Heart", "Lymphoid": "Lymph node"}
LYMPHOID = {"bone marrow": "Bone marrow", "tonsil": "Tonsil"}
NEEDED = ("id", "organ", "tissue", "disease_state", "species", "patient", "st_technology", "dataset_title")


def paper_samples(metadata: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Rows of samples.tsv for the paper's run.

    Parameters
    ----------
    metadata
        HEST-1k's table, one row a sample.
    folder
        The dataset's folder (``hest_data``) as it shall stand in the table.

    Returns
    -------
    The columns of samples.tsv as text, training slides first, each part in the order of ids.

    Raises
    ------
    UserError
        If a column is missing or an organ is not one of the paper's thirteen.
    """
    absent = [column for column in NEEDED if column not in metadata.columns]
    if absent:
        raise UserError(f"HEST-1k table: column {', '.join(absent)} is missing; use assets/HEST_v1_1_0.csv of HEST-1k")
    human = (metadata["species"] == "Homo sapiens") & (metadata["st_technology"] == "Xenium")
    chosen = metadata[human].sort_values("id")
    unknown = sorted(set(chosen["organ"]) - set(TRAINED) - set(HELD_OUT))
    if unknown:
        raise UserError(f"HEST-1k table: organ {', '.join(unknown)} is not in the paper's split; take out its rows")
    table = pd.DataFrame([_row(row, folder) for row in chosen.to_dict("records")], columns=list(COLUMNS)).fillna("")
    return table.sort_values("split", key=lambda split: split != "train", kind="stable", ignore_index=True)


def _row(row: dict[str, object], folder: str) -> dict[str, str]:
    organ = str(row["organ"])
    held_out = organ in HELD_OUT
    tissue = HELD_OUT[organ] if held_out else TRAINED[organ]
    if organ == "Lymphoid":
        tissue = LYMPHOID.get(str(row["tissue"]).lower(), tissue)
    return {
        "sample": str(row["id"]),
        "platform": "hest",
        "path": folder,
        "tissue": tissue,
        "split": "seg_eval" if held_out else "train",
        "patient": _donor(row),
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
        print("usage: python -m stnuclei.config.hest_table HEST_v1_1_0.csv FOLDER_OF_THE_DATA", file=sys.stderr)
        return 2
    try:
        table = paper_samples(pd.read_csv(arguments[0]), arguments[1])
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    table.to_csv(sys.stdout, sep="\t", index=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

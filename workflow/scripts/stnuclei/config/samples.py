"""Read samples.tsv and say everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.config.leakage import table_leaks
from stnuclei.config.user_table import (
    alignment_files,
    column_problems,
    is_positive,
    path_problems,
    read_user_table,
)
from stnuclei.errors import UserError, is_file_name, refuse, suggestion

#: Column -> what an empty cell means (None: must be filled).
COLUMNS: dict[str, str | None] = {
    "sample": None,
    "platform": None,
    "path": None,
    "he_image": "",
    "he_alignment": "",
    "tissue": None,
    "split": "train",
    "donor": "",
    "disease": "",
    "annotation": "",
    "annotation_map": "",
    "labels": "",
    "labels_map": "",
    "he_um_per_px": "",
    "hest_id": "",
    "nuclei": "",
    "counts": "",
    "regions": "",
    "he_element": "",
    "nuclei_element": "",
    "table_element": "",
    "coordinate_system": "",
}
#: Platform -> its reader, ``module:function``: takes `SampleInputs` and the platform's own options, returns a `Sample`.
#: Named by text so that a run of one platform does not import the libraries of the others.
PLATFORMS = {
    "xenium": "stnuclei.io.xenium:read_xenium",
    "hest": "stnuclei.io.hest:read_hest",
    "spatialdata": "stnuclei.io.spatialdata_reader:read_spatialdata",
    "cosmx": "stnuclei.io.cosmx:read_cosmx",
    "merscope": "stnuclei.io.merscope:read_merscope",
    "visium_hd": "stnuclei.io.visium_hd:read_visium_hd",
}
#: Columns that only some platforms read.
PLATFORM_COLUMNS: dict[str, tuple[str, ...]] = {
    "he_element": ("spatialdata",),
    "nuclei_element": ("spatialdata", "visium_hd"),
    "table_element": ("spatialdata", "visium_hd"),
    "coordinate_system": ("spatialdata",),
}
#: Word in the column ``disease`` -> its meaning; empty: not known.
DISEASES = {
    "cancer": "malignant cells are expected",
    "normal": "no malignant cells",
    "benign": "a benign tumour or lesion",
    "inflamed": "inflammation, no tumour known",
    "diseased": "another disease, no tumour known (HEST-1k's Diseased)",
    "treated": "treated tissue, tumour cells may or may not be left",
}
# Words people write for these, for the suggestion: letters alone would take "tumour" for "treated".
_DISEASE_WORDS = {
    "cancer": (
        "tumour",
        "tumor",
        "carcinoma",
        "malignant",
        "melanoma",
        "sarcoma",
        "lymphoma",
        "adenocarcinoma",
        "dcis",
    ),
    "normal": ("healthy", "control", "adjacent", "non-malignant", "none", "unaffected"),
    "inflamed": ("inflammation", "inflammatory", "colitis", "ibd", "infection"),
    "diseased": ("disease", "fibrosis", "copd"),
}
PATH_COLUMNS = (
    *("path", "he_image", "he_alignment", "annotation", "annotation_map"),
    *("labels", "labels_map", "nuclei", "counts", "regions"),
)
SPLITS = ("train", "val", "seg_eval", "cls_eval", "none")


def read_samples(
    path: str | Path, tissues: tuple[str, ...] = (), allow_shared_donors: Sequence[str] = ()
) -> pd.DataFrame:
    """Read the samples table; whether the files it names exist is not looked at.

    Parameters
    ----------
    path
        Tab-separated text with the columns of `COLUMNS`; lines that begin with ``#`` are comments.
    tissues
        Tissue names that the marker tables know; empty: any name.
    allow_shared_donors
        Donors that may stand on two sides (see `stnuclei.config.leakage`).

    Returns
    -------
    All columns as text, index = sample.

    Raises
    ------
    UserError
        With one line a problem, naming sample and column; nothing is read half.
    """
    path = Path(path)
    table = read_user_table(path, "samples table", "`samples` in the configuration")
    problems = list(column_problems(table, COLUMNS))
    if not problems:
        table = _filled(table)
        problems = [problem for row in table.itertuples() for problem in _row_problems(row._asdict(), tissues)]
        problems += _table_problems(table, allow_shared_donors)
    refuse(f"samples table {path}", problems)
    return table.set_index("sample", drop=False)


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    table = table.apply(lambda column: column.str.strip())
    for column, default in COLUMNS.items():
        if column not in table.columns:
            table[column] = default
        elif default:
            table[column] = table[column].replace("", default)
    return table[list(COLUMNS)]


def _row_problems(row: Mapping[str, Any], tissues: tuple[str, ...]) -> list[str]:
    name = row["sample"] or f"row {row['Index'] + 1}"
    problems = [
        f"sample {name}, column {column}: is empty"
        for column, default in COLUMNS.items()
        if default is None and not row[column]
    ]
    for column, known in (("platform", PLATFORMS), ("split", SPLITS)):
        if row[column] and row[column] not in known:
            problems.append(f"sample {name}, column {column}: {row[column]!r} is none of {', '.join(known)}")
    if row["disease"] and row["disease"] not in DISEASES:
        hint = disease_suggestion(row["disease"])
        problems.append(f"sample {name}, column disease: {row['disease']!r} is not known; {hint}")
    if row["sample"] and not is_file_name(row["sample"]):
        problems.append(f"sample {name}, column sample: use letters, digits, '_', '-' and '.' only")
    if row["sample"].startswith("pannuke_"):
        problems.append(f"sample {name}, column sample: names beginning with pannuke_ are kept for PanNuke's folds")
    if tissues and row["tissue"] and row["tissue"] not in tissues:
        hint = suggestion(row["tissue"], tissues)
        problems.append(f"sample {name}, column tissue: {row['tissue']!r} is not in the tissue map; {hint}")
    problems += path_problems(row, PATH_COLUMNS, f"sample {name}")
    return problems + _optional_problems(name, row)


def disease_suggestion(text: str) -> str:
    """Suggest the word of `DISEASES` nearest to another: the same meaning, then the same letters; else list all."""
    words = text.casefold().replace("-", " ").split()
    for disease, others in _DISEASE_WORDS.items():
        if disease in words or any(other.replace("-", " ") in text.casefold().replace("-", " ") for other in others):
            return f"did you mean {disease!r}? (or leave it empty; known: {', '.join(DISEASES)})"
    return f"{suggestion(text.casefold(), DISEASES)} (or leave it empty)"


def diseases_not_given(samples: pd.DataFrame, methods: Sequence[str]) -> str:
    """Sentence about the samples whose disease is not given, "" where there are none or nobody would use it."""
    names = samples.loc[samples["disease"] == "", "sample"].tolist()
    if not names or "stnuclei" not in methods:
        return ""
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return (
        f"samples table: disease is not given for {listed}: whether their epithelium is malignant is decided from "
        f"expression alone, which is often undecidable; fill in one of {', '.join(DISEASES)} where it is known"
    )


def _optional_problems(name: str, row: Mapping[str, Any]) -> list[str]:
    problems = []
    if row["he_um_per_px"] and not is_positive(row["he_um_per_px"]):
        problems.append(f"sample {name}, column he_um_per_px: {row['he_um_per_px']!r} is no positive number")
    if row["platform"] == "spatialdata":
        problems += [
            f"sample {name}, column {column}: a SpatialData store holds its H&E and alignment; leave it empty"
            for column in ("he_image", "he_alignment")
            if row[column]
        ]
    for column, platforms in PLATFORM_COLUMNS.items():
        if row[column] and row["platform"] not in platforms:
            belongs = " and ".join(platforms)
            problems.append(f"sample {name}, column {column}: belongs to platform {belongs}; leave it empty")
    try:
        alignment_files(row["he_alignment"])
    except UserError as error:
        problems.append(f"sample {name}, column he_alignment: {error}")
    if row["split"] == "cls_eval" and not row["annotation"]:
        problems.append(f"sample {name}, column annotation: a slide of split cls_eval needs its manual annotation")
    if row["annotation_map"] and not row["annotation"]:
        problems.append(f"sample {name}, column annotation_map: there is a mapping but no annotation to map")
    if row["labels_map"] and not row["labels"]:
        problems.append(f"sample {name}, column labels_map: there is a mapping but no labels to map")
    if row["labels"].partition("#")[0].endswith((".h5ad", ".zarr")) and "#" not in row["labels"]:
        problems.append(f"sample {name}, column labels: name the column of obs: {row['labels']}#column")
    return problems


def _table_problems(table: pd.DataFrame, allow_shared_donors: Sequence[str]) -> list[str]:
    names = table["sample"]
    problems = [f"sample {name}, column sample: named twice" for name in sorted(set(names[names.duplicated()]))]
    problems += table_leaks(table, allow_shared_donors)
    if table.empty:
        problems.append("there is no sample in it")
    return problems

"""Read slides.tsv, the H&E slides to be segmented, and say everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.config.user_table import column_problems, is_positive, path_problems, read_user_table
from stnuclei.errors import is_file_name, refuse, suggestion

#: Column -> what an empty cell means (None: must be filled).
COLUMNS: dict[str, str | None] = {"slide": None, "path": "", "um_per_px": "", "sample": "", "model": ""}
#: Where the table is looked for when nobody says; there, and only there, it may be missing.
DEFAULT = "config/slides.tsv"


def read_slides(path: str | Path, samples: Collection[str], models: Collection[str]) -> pd.DataFrame:
    """Read the table of slides; whether the files it names exist is not looked at.

    Parameters
    ----------
    path
        Tab-separated text with the columns of `COLUMNS`; lines that begin with ``#`` are comments. Empty text, or
        `DEFAULT` where no such file is: no slides.
    samples
        Names in samples.tsv.
    models
        Models that can be named: those trained here and those of ``segmentation.checkpoints``.

    Returns
    -------
    All columns as text, index = slide; ``model`` holds names separated by commas, all of them where none was named.

    Raises
    ------
    UserError
        With one line a problem, naming slide and column.
    """
    if not str(path) or (str(path) == DEFAULT and not Path(path).is_file()):
        return pd.DataFrame(columns=list(COLUMNS), dtype=str).set_index("slide", drop=False)
    path = Path(path)
    table = read_user_table(path, "slides table", "`slides_table` in the configuration")
    problems = list(column_problems(table, COLUMNS))
    if not problems:
        for column in COLUMNS:
            table[column] = table[column].str.strip() if column in table.columns else ""
        table = table[list(COLUMNS)]
        for row in table.to_dict("records"):
            problems += _row_problems(row, samples, models)
        doubled = table["slide"][table["slide"].duplicated()]
        problems += [f"slide {name}, column slide: named twice" for name in sorted(set(doubled)) if name]
    refuse(f"slides table {path}", problems)
    table["model"] = table["model"].replace("", ",".join(models))
    return table.set_index("slide", drop=False)


def models_of(slides: pd.DataFrame) -> list[tuple[str, str]]:
    """(slide, model) of every segmentation asked for."""
    return [(name, model) for name, models in slides["model"].items() for model in split_names(models)]


def check_segmentation(
    settings: Mapping[str, Any], slides: pd.DataFrame, models: Collection[str], methods: Collection[str]
) -> None:
    """Check names against one another.

    Parameters
    ----------
    settings
        The configuration's ``segmentation``.
    slides
        From `read_slides`.
    models
        Models trained here.
    methods
        Label sets that are made.

    Raises
    ------
    UserError
        With one line a problem.
    """
    problems = [
        f"segmentation.checkpoints.{name}: a model that is trained here has this name; take another"
        for name in settings["checkpoints"]
        if name in models
    ]
    if settings["labels"] not in methods and (slides["sample"] != "").any():
        problems.append(
            f"segmentation.labels: {settings['labels']!r} is not made; add it to labels.methods or take one of "
            f"{', '.join(methods)}"
        )
    if settings["tile"] <= 4 * settings["overlap"]:
        problems.append(
            f"segmentation.overlap: {settings['overlap']} px on each side leave too little of a tile of "
            f"{settings['tile']} px"
        )
    refuse("the configuration", problems)


def split_names(names: str) -> list[str]:
    """Names separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def _row_problems(row: dict[str, str], samples: Collection[str], models: Collection[str]) -> Iterable[str]:
    name = row["slide"] or "without a name"
    if not is_file_name(row["slide"]):
        yield f"slide {name}, column slide: use letters, digits, '_', '-' and '.' only"
    yield from path_problems(row, ("path",), f"slide {name}")
    if not row["path"] and not row["sample"]:
        yield f"slide {name}, column path: is empty; give the slide's file, or in column sample the sample it is of"
    if row["sample"] and row["sample"] not in samples:
        hint = suggestion(row["sample"], samples)
        yield f"slide {name}, column sample: {row['sample']!r} is not in the samples table; {hint}"
    for model in split_names(row["model"]):
        if model not in models:
            yield f"slide {name}, column model: there is no model {model!r}; {suggestion(model, models)}"
    if row["um_per_px"] and not is_positive(row["um_per_px"]):
        yield f"slide {name}, column um_per_px: {row['um_per_px']!r} is no positive number"

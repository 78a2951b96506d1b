"""Page of one model: training data, curves, scores, scores by class and size, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.evaluation.formatting import few_note, format_frame, number
from stnuclei.reporting.content import Entry, Page, Section, Table, picture, read_table, score_table
from stnuclei.reporting.jobs import time_of
from stnuclei.reporting.report_run import ReportRun
from stnuclei.training.diagnosis import learning_problems

#: Tables of the results in which a model has rows, their headings, and whether they open on a click.
SCORES = {"table2": "Segmentation (table 2)", "table3": "Classes (table 3)", "pannuke": "PanNuke, unseen folds"}
BREAKDOWNS = {
    "organs": "By organ",
    "classes": "By class",
    "sizes": "By area of the nucleus",
    "calibration": "By predicted probability",
    "pannuke_tissues": "PanNuke by tissue",
}
_SHOWN = {
    "train_loss": "loss, training",
    "val_loss": "loss, validation",
    "val_bpq": "bPQ, validation",
    "val_detection_f1": "detection F1, validation",
    "val_macro_f1": "macro F1, validation",
}


def model_page(run: ReportRun, name: str) -> Page:
    """Build the page from what lies in the model's folder and from the tables."""
    folder, entry = run.model_folder(name), run.config["models"][name]
    history = _history(folder / "history.csv")
    page = Page(f"models/{name}", name, trained_on(entry))
    page.facts = _facts(run, name, entry, history)
    page.warnings = [f"This model may have learned nothing: {problem}." for problem in learning_problems(history)]
    page.sections = [
        Section(
            "Training", "", picture(folder, "curves.png", "Losses and validation scores by epoch."), _last(history)
        ),
        Section("Scores", tables=own_rows(run, name, SCORES)),
        Section("Scores by organ, class and size", tables=own_rows(run, name, BREAKDOWNS)),
        error_pictures(folder),
        card_section(folder / "README.md"),
    ]
    return page


def card_section(path: Path) -> Section:
    """The model card, word for word."""
    if not path.is_file():
        return Section("Model card")
    return Section("Model card", tables=[Table(["README.md"], [[Entry(path.read_text())]], "Model card", folded=True)])


def trained_on(entry: dict[str, Any]) -> str:
    """Sources of a model in words."""
    words = []
    for source in entry["train"]:
        if "pannuke" in source:
            words.append(f"PanNuke fold {', '.join(map(str, source['pannuke']))} (classes drawn by hand)")
        else:
            names = source["samples"]
            which = f"slides of split {names}" if isinstance(names, str) else ", ".join(names)
            words.append(f"{which} (labels by {source['labels']})")
    return "Trained on " + " and ".join(words)


def settings_of(run: ReportRun, name: str) -> dict[str, Any]:
    """The training settings of a model, its own over the common ones."""
    return {**run.config["training"], **run.config["models"][name].get("training", {})}


def _history(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def _facts(run: ReportRun, name: str, entry: dict[str, Any], history: pd.DataFrame) -> list[tuple[str, str]]:
    settings = settings_of(run, name)
    facts = [
        ("network", settings["architecture"]),
        ("epochs", f"{len(history)} of {settings['epochs']}" if len(history) else ""),
        ("batch", number(settings["batch_size"])),
        ("learning rate", f"{settings['learning_rate']:g}, {settings['schedule']}"),
        ("seed", str(entry.get("seed", run.config["seed"]))),
        ("patches/s", f"{history['patches_per_s'].median():,.1f}" if "patches_per_s" in history else ""),
        ("trained in", time_of(run.jobs, "train_model", name)),
        ("one run of", run.groups[name] if run.groups[name] != name else ""),
    ]
    return [(fact, value) for fact, value in facts if value]


def _last(history: pd.DataFrame) -> list[Table]:
    """First, middle and last epochs in numbers."""
    columns = [name for name in _SHOWN if name in history]
    if not columns:
        return []
    rows = history.iloc[sorted({0, len(history) // 4, len(history) // 2, 3 * len(history) // 4, len(history) - 1})]
    chosen = rows[["epoch", *columns, *({"val_pairs"} & set(rows))]].astype({"epoch": int})
    formatted = format_frame(chosen)
    body = list(zip(*(formatted[name] for name in ("epoch", *columns) if name in formatted), strict=True))
    entries = [[Entry(text.value, number=True) for text in row] for row in body]
    heads = ["epoch", *(_SHOWN[name] for name in columns if name in formatted)]
    return [Table(heads, entries, note=few_note(formatted))]


def own_rows(run: ReportRun, name: str, titles: dict[str, str]) -> list[Table]:
    """The rows of this model, or of what it is a run of."""
    out = []
    for table, title in titles.items():
        frame = read_table(run.results / "tables" / f"{table}.tsv")
        if "model" not in frame:
            continue
        scores = frame[frame["model"].isin([name, run.groups[name]])].drop(columns="model")
        if len(scores):
            out.append(score_table(scores, title, taxonomy=run.taxonomy, link=run.link_of))
    return out


def error_pictures(folder: Path) -> Section:
    """Confusion of classes and error atlas of each scored set."""
    section = Section("Errors")
    for path in sorted((folder / "scores").glob("*.confusion.png")):
        on = path.name.removesuffix(".confusion.png")
        section.pictures += picture(path.parent, path.name, f"Confusion of classes on {on}.", wide=False)
    for path in sorted((folder / "scores").glob("*.errors.png")):
        on = path.name.removesuffix(".errors.png")
        words = f"Error atlas of {on}: its worst patches, each nucleus coloured by its error."
        section.pictures += picture(path.parent, path.name, words)
    return section

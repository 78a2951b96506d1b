"""Page of one cell classifier: what it learned from, curves, confusion, scores, cost."""

from __future__ import annotations

import pandas as pd

from stnuclei.evaluation.formatting import number
from stnuclei.reporting.content import Page, Section, picture, plain_table, read_table
from stnuclei.reporting.jobs import time_of
from stnuclei.reporting.models import BREAKDOWNS, SCORES, card_section, error_pictures, own_rows, trained_on
from stnuclei.reporting.report_run import ReportRun

_COST = "Seconds by the clock and of the CPU: taking the tokens of each set, once for all classifiers, and the head."


def classifier_page(run: ReportRun, name: str) -> Page:
    """Build the page from what lies in the classifier's folder and from the tables."""
    folder, entry = run.model_folder(name), run.config["classifiers"][name]
    lead = f"Cell classifier on the tokens of {entry['model']}. {trained_on(entry)}"
    page = Page(f"models/{name}", name, lead)
    page.facts = _facts(run, name)
    pictures = picture(folder, "curves.png", "Losses and validation scores by epoch; the line marks the epoch kept.")
    pictures += picture(folder, "confusion.png", "Validation nuclei by label and class given.", wide=False)
    page.sections = [
        Section("Training", "", pictures),
        _cost(run, name),
        Section("Scores", tables=own_rows(run, name, SCORES)),
        Section("Scores by organ, class and size", tables=own_rows(run, name, BREAKDOWNS)),
        error_pictures(folder),
        card_section(folder / "README.md"),
    ]
    return page


def _facts(run: ReportRun, name: str) -> list[tuple[str, str]]:
    entry = run.config["classifiers"][name]
    path = run.model_folder(name) / "history.csv"
    epochs = len(pd.read_csv(path)) if path.is_file() else 0
    hidden = entry["head"]["hidden"]
    facts = [
        ("tokens of", entry["model"]),
        ("taxonomy", str(entry["taxonomy"] or run.config["taxonomy"])),
        ("tokens", f"{entry['tokens']}, of the {entry['nuclei']}'s nuclei"),
        ("head", f"{hidden} hidden units" if hidden else "linear"),
        ("epochs", f"{number(epochs)} of {entry['head']['epochs']}" if epochs else ""),
        ("seed", str(run.config["seed"] if entry["seed"] is None else entry["seed"])),
        ("trained in", time_of(run.jobs, "train_classifier", name)),
    ]
    return [(fact, value) for fact, value in facts if value]


def _cost(run: ReportRun, name: str) -> Section:
    cost = read_table(run.model_folder(name) / "cost.tsv")
    if cost.empty:
        return Section("Cost")
    rows = [["" if pd.isna(value) else value for value in row] for row in cost.itertuples(index=False)]
    return Section("Cost", tables=[plain_table(list(cost.columns), rows, note=_COST)])

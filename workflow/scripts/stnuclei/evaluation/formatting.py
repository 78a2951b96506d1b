"""Score tables as text: a value with its spread, interval and published figure, the same in Markdown and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stnuclei.metrics import FEW_PAIRS

#: Endings of columns that stand in the cell of their metric.
_BESIDE = ("_low", "_high", "_paper", "_sd", "_delta")
#: Counts of nuclei that were not scored: shown last.
_LAST = ("unknown", "other", "false_negatives")
_CLASS_SCORES = ("macro_f1", "accuracy", "f1_", "precision_", "recall_", "matched_f1", "val_macro_f1", "val_f1_")
_SCORES_OF_A_CLASS = ("f1", "precision", "recall", "agreement", "kappa")
#: Columns that count the nuclei a row's class scores are made of.
_PAIR_COUNTS = ("nuclei", "pairs", "n_scored", "true", "val_pairs")
FEW_MARK = "\N{DAGGER}"
FEW_NOTE = f"{FEW_MARK} over fewer than {FEW_PAIRS} nuclei: says little."
_HEADINGS = {
    "bpq": "bPQ",
    "mpq": "mPQ",
    "bpq_patches": "bPQ, mean of patches",
    "mpq_patches": "mPQ, mean of patches",
    "pq": "PQ",
    "dice": "Dice",
    "jaccard": "Jaccard",
    "f1": "F1",
    "macro_f1": "macro F1",
    "matched_f1": "F1 of pairs",
    "ece": "ECE",
}


@dataclass(frozen=True)
class ScoreText:
    """Value of a metric as text, and what stands beside it.

    Parameters
    ----------
    value
        With its spread over runs.
    interval
        ``0.350–0.470``, or empty.
    published
        The paper's figure, or empty.
    delta
        Difference to the baseline, with sign, or empty.
    is_number
        True for a number: it is set flush right.
    """

    value: str
    interval: str = ""
    published: str = ""
    delta: str = ""
    is_number: bool = True

    def line(self) -> str:
        """All in one line: value, delta, (interval), [published]."""
        return " ".join([self.value, *self.notes()])

    def notes(self) -> list[str]:
        """All but the value: delta, interval (in round brackets), published figure (in square ones)."""
        delta = f"\N{GREEK CAPITAL LETTER DELTA} {self.delta}" if self.delta else ""
        interval = f"({self.interval})" if self.interval else ""
        published = f"[{self.published}]" if self.published else ""
        return [note for note in (delta, interval, published) if note]


def number(value: float | str | None) -> str:
    """Format a number for reading: counts with separators, fractions with four digits, a dash for NaN."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return "\N{EN DASH}"
    if float(value) == int(value) and (abs(value) > 1 or isinstance(value, int)):
        return f"{int(value):,}"
    return f"{value:.4f}" if abs(value) < 1.5 else f"{value:,.3f}" if abs(value) < 100 else f"{value:,.1f}"


def heading(name: str) -> str:
    """Heading of a column."""
    return _HEADINGS.get(name, name.replace("_", " ").replace("f1 ", "F1 ").replace("pq ", "PQ "))


def format_frame(frame: pd.DataFrame) -> dict[str, list[ScoreText]]:
    """Format a table as the workflow writes it.

    Parameters
    ----------
    frame
        ``{metric}_sd``, ``{metric}_slide_low``, ``{metric}_paper`` ... beside the metrics.

    Returns
    -------
    Column -> its cells, from top to bottom. Columns that hold nothing are left out, and ``runs`` where each is 1; rows
    that differ in nothing but the policy are one.
    """
    frame = merge_policies(frame)
    frame = frame.drop(columns=[name for name in frame if len(frame) and frame[name].isna().all()])
    if "runs" in frame and (frame["runs"] == 1).all():
        frame = frame.drop(columns="runs")
    names = [name for name in frame if not name.endswith(_BESIDE) and not name.startswith("paper_")]
    names.sort(key=_LAST.__contains__)  # stable
    rows = frame.to_dict("records")
    return {name: [format_score(row, name) for row in rows] for name in names}


def merge_policies(frame: pd.DataFrame) -> pd.DataFrame:
    """One row where both policies give the same scores to four digits."""
    if "policy" not in frame or frame.empty:
        return frame
    others = [name for name in frame if name != "policy" and not name.endswith(_BESIDE)]
    keys = frame[others].round(4).astype(str).agg("|".join, axis=1)
    policies = frame.groupby(keys, sort=False)["policy"].transform(lambda p: " = ".join(dict.fromkeys(p)))
    return frame.assign(policy=policies)[~keys.duplicated()].reset_index(drop=True)


def format_score(row: Mapping[str, Any], name: str) -> ScoreText:
    """Format one metric of a row; class scores over fewer than `FEW_PAIRS` nuclei have two digits and a dagger."""
    value = row[name]
    if isinstance(value, str):
        return ScoreText(value, is_number=False)
    if is_doubtful(row, name):
        return ScoreText(f"{value:.2f} {FEW_MARK}", _interval(row, name), _published(row, name))
    text = number(value)
    if (spread := _present(row, f"{name}_sd")) is not None:
        text += f" \N{PLUS-MINUS SIGN} {spread:.4f}"
    delta = _present(row, f"{name}_delta")
    return ScoreText(text, _interval(row, name), _published(row, name), "" if delta is None else f"{delta:+.4f}")


def few_note(table: Mapping[str, list[ScoreText]]) -> str:
    """Explanation of the dagger, empty where no entry has one."""
    return FEW_NOTE if any(FEW_MARK in entry.value for column in table.values() for entry in column) else ""


def is_doubtful(row: Mapping[str, Any], name: str) -> bool:
    """True if a class score rests on fewer than `FEW_PAIRS` matched nuclei."""
    by_class = "class" in row and name in _SCORES_OF_A_CLASS
    if not (by_class or name.startswith(_CLASS_SCORES)) or _present(row, name) is None:
        return False
    counts = [count for key in _PAIR_COUNTS if (count := _present(row, key)) is not None]
    return bool(counts) and min(counts) < FEW_PAIRS


def _interval(row: Mapping[str, Any], name: str) -> str:
    """Bootstrap interval: by slide, or by patch where there is one slide."""
    for unit in ("slide", "patch"):
        low, high = _present(row, f"{name}_{unit}_low"), _present(row, f"{name}_{unit}_high")
        if low is not None and high is not None:
            return f"{low:.3f}\N{EN DASH}{high:.3f}"
    return ""


def _published(row: Mapping[str, Any], name: str) -> str:
    paper = _present(row, f"{name}_paper")
    paper = _present(row, f"paper_{name}") if paper is None else paper
    if paper is None:
        return ""
    counted = float(row[name]).is_integer() and paper >= 1
    return f"{int(paper):,}" if counted else number(paper)


def _present(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value is None or isinstance(value, str) or pd.isna(value) else value

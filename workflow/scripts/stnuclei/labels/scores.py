"""Label sets against a manual annotation, and against each other, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.labels.result import undecided
from stnuclei.metrics import calibration_curve, expected_calibration_error, f1_precision_recall
from stnuclei.taxonomy import Taxonomy


@dataclass(frozen=True)
class LabelScores:
    """Scores of every method on one sample.

    Parameters
    ----------
    table
        One row a method: n_annotated (cells with a class in the annotation), n_scored (those that the sample has),
        accuracy, macro_f1, unknown and undecided (fractions; undecided: between several classes), calibration_error,
        then precision, recall, F1 of each class as ``f1_<Class>`` and so on.
    confusion
        Method -> counts, rows annotation, columns labels (Unknown last).
    calibration
        One row a method and bin of confidence (`stnuclei.metrics.calibration_curve`), over the decided cells.
    taxonomy
        Order and colours of the classes.
    """

    table: pd.DataFrame
    confusion: Mapping[str, pd.DataFrame]
    calibration: pd.DataFrame
    taxonomy: Taxonomy

    def save(self, path: str | Path) -> None:
        """Write the table as tsv."""
        with atomic_write(path) as temporary:
            self.table.to_csv(temporary, sep="\t", index=False, float_format="%.4f", lineterminator="\n")


def score_labels(
    labels: Mapping[str, pd.DataFrame], annotation: pd.DataFrame, taxonomy: str | Path | Taxonomy = "pannuke"
) -> LabelScores:
    """Score each method's labels on the annotated cells.

    Cells whose annotation is Unknown (hybrids, unlabelled) are left out; a label Unknown counts as wrong. The macro F1
    is the mean over the classes the annotation has.

    Parameters
    ----------
    labels
        Method -> cells (`Labels.cells`).
    annotation
        cell_id, label in the taxonomy's classes (`read_annotation`).
    taxonomy
        The classes.

    Returns
    -------
    LabelScores

    Raises
    ------
    UserError
        If no annotated cell is among the labelled ones.
    """
    taxonomy = Taxonomy.load(taxonomy)
    truth = annotation.loc[annotation["label"] != taxonomy.unknown.name].set_index("cell_id")["label"]
    rows, confusion, calibration = [], {}, []
    for method, cells in labels.items():
        ids = cells["cell_id"].astype(str)
        scored = cells[ids.isin(truth.index).to_numpy()]
        if scored.empty:
            raise UserError(
                f"annotation: none of its {len(truth):,} cells is among the {len(cells):,} labelled ones "
                f"(e.g. {truth.index[0] if len(truth) else 'none'!r} against {ids.iloc[0]!r}): is it of this sample?"
            )
        actual = truth.reindex(scored["cell_id"].astype(str)).to_numpy().astype(str)
        given, confidence = scored["label"].to_numpy().astype(str), scored["confidence"].to_numpy(float)
        confusion[method] = confusion_matrix(actual, given, taxonomy)
        decided = given != taxonomy.unknown.name
        curve = calibration_curve((actual == given)[decided], confidence[decided])
        calibration.append(curve.assign(method=method))
        row = {"method": method, "n_annotated": len(truth), "n_scored": len(scored)}
        row["undecided"] = float(undecided(scored).mean())
        rows.append(
            row | _summary(confusion[method], taxonomy) | {"calibration_error": expected_calibration_error(curve)}
        )
    table = pd.DataFrame(rows)
    first = ["method", "n_annotated", "n_scored", "accuracy", "macro_f1", "unknown", "undecided", "calibration_error"]
    table = table[[*first, *(column for column in table if column not in first)]]
    return LabelScores(table, confusion, pd.concat(calibration, ignore_index=True), taxonomy)


def confusion_matrix(actual: np.ndarray, given: np.ndarray, taxonomy: Taxonomy) -> pd.DataFrame:
    """Counts of cells, int64: rows the annotation's classes (those it has), columns the labels, Unknown last."""
    rows = [name for name in taxonomy.names if name in set(actual)]
    table = pd.crosstab(pd.Categorical(actual, rows), pd.Categorical(given, taxonomy.labels), dropna=False)
    return table.rename_axis(index="annotation", columns="label").astype(np.int64)


def _summary(confusion: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, float]:
    """Accuracy, macro F1, fraction Unknown, and precision, recall, F1 of each class of the annotation."""
    total = confusion.to_numpy().sum()
    hits = {name: float(confusion.loc[name].get(name, 0)) for name in confusion.index}
    result = {"accuracy": sum(hits.values()) / total, "unknown": confusion[taxonomy.unknown.name].sum() / total}
    f1 = []
    for name, hit in hits.items():
        labelled = float(confusion[name].sum()) if name in confusion else 0.0
        annotated = float(confusion.loc[name].sum())
        # A class that the method never gives has no precision; the annotation has it, so that it counts as 0.
        scores = np.nan_to_num(f1_precision_recall(hit, labelled - hit, annotated - hit))
        f1.append(scores[0])
        result |= dict(zip((f"f1_{name}", f"precision_{name}", f"recall_{name}"), scores.tolist(), strict=True))
        result |= {f"n_{name}": int(annotated)}
    return result | {"macro_f1": float(np.mean(f1))}


def label_agreement(labels: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Fraction of cells on which two methods agree, methods x methods, float64, 1 on the diagonal.

    Raises
    ------
    UserError
        If two sets are of different cells.
    """
    names = list(labels)
    sizes = {name: len(cells) for name, cells in labels.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(f"label sets of different samples cannot be compared: cells {sizes}")
    values = np.array([labels[name]["label"].to_numpy().astype(str) for name in names])
    same = np.array([[np.mean(a == b) if len(a) else 1.0 for b in values] for a in values])
    return pd.DataFrame(same, index=pd.Index(names, name="method"), columns=names)

"""Table of classifiers: what each learned from, its validation scores, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stnuclei.cellvit.classifier import CellClassifier


def classifier_table(classifiers: Mapping[str, CellClassifier]) -> pd.DataFrame:
    """One row a classifier.

    Parameters
    ----------
    classifiers
        Name -> classifier with the provenance that `train_classifier` writes.

    Returns
    -------
    Columns model, tokens_of, taxonomy, classes, tokens, nuclei (that it learned from), validation_nuclei,
    val_macro_f1, val_accuracy; patches, token_seconds and token_cpu_seconds (all sets together), device of the tokens;
    head_seconds and head_cpu_seconds (on a CPU), epochs.
    """
    return pd.DataFrame([{"model": name, **_row(one)} for name, one in classifiers.items()])


def _row(classifier: CellClassifier) -> dict[str, Any]:
    facts, result = classifier.provenance, classifier.provenance["result"]
    costs = facts["costs"]
    return {
        "tokens_of": facts.get("model", facts["checkpoint"][:12]),
        "taxonomy": (classifier.taxonomy or {}).get("name", ""),
        "classes": len(classifier.names),
        "tokens": f"{classifier.tokens}, {facts['nuclei']}",
        "nuclei": result["nuclei"],
        "validation_nuclei": result["validation_nuclei"],
        "val_macro_f1": result["val_macro_f1"],
        "val_accuracy": result["val_accuracy"],
        "patches": sum(cost["patches"] for cost in costs),
        "token_seconds": round(sum(cost["seconds"] for cost in costs), 1),
        "token_cpu_seconds": round(sum(cost["cpu_seconds"] for cost in costs), 1),
        "device": ", ".join(sorted({cost["device"] for cost in costs})),
        "head_seconds": result["seconds"],
        "head_cpu_seconds": result["cpu_seconds"],
        "epochs": result["epochs"],
    }

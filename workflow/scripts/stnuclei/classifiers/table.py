"""Table of classifiers: what each learned from, its validation scores, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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


def cost_note(costs: Mapping[str, str | Path]) -> list[str]:
    """Note on what the classifiers of a table cost; empty where there are none.

    Parameters
    ----------
    costs
        Name -> ``cost.tsv`` of `train_classifier`.

    Returns
    -------
    One paragraph or none.
    """
    if not costs:
        return []
    words = [f"{name}, {_cost(pd.read_table(path))}" for name, path in costs.items()]
    return [f"Cost of the classifiers, beside that of the model whose tokens they read: {'; '.join(words)}."]


def _cost(cost: pd.DataFrame) -> str:
    """Seconds by the clock and of the CPU, patches, device."""
    tokens, head = cost[cost["step"] == "tokens"], cost[cost["step"] == "head"]
    devices = " and ".join(sorted({str(device).upper() for device in tokens["device"]}))
    return (
        f"tokens of {int(tokens['patches'].sum()):,} patches {tokens['seconds'].sum():,.1f} s on {devices} "
        f"({tokens['cpu_seconds'].sum():,.1f} CPU s), head {head['seconds'].sum():,.1f} s on CPU "
        f"({head['cpu_seconds'].sum():,.1f} CPU s)"
    )


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

"""Card of a cell classifier: classes, tokens, data, cost, scores, limits, use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stnuclei.cellvit.classifier import CellClassifier, load_classifier
from stnuclei.files import atomic_write
from stnuclei.reporting.licences import licence, terms
from stnuclei.reporting.model_card import UNKNOWN, bullets, score_tables

_TOKENS = {
    "box": "mean of the tokens that the nucleus' box touches (as CellViT++ takes them)",
    "centre": "the token under the nucleus' centroid",
    "nucleus": "mean of the tokens, weighted by the nucleus' pixels in each",
}


def write_classifier_card(
    classifier: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write the card of a classifier in the form Hugging Face shows: Markdown below a YAML head.

    Parameters
    ----------
    classifier
        File of `stnuclei.classifiers.train_classifier`, or of CellViT++, of which little is known.
    out
        README.md.
    name
        Of the classifier; None: what the file calls it, else its name.
    tables
        ``segmentation`` and ``classification``: rows of table 2 and 3 of this classifier.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    head, file = load_classifier(classifier), Path(classifier).name
    name = name or head.provenance.get("classifier") or Path(classifier).stem
    sets = [{"platform": _platform(pair[0]), "labels": pair[1]} for pair in head.provenance.get("train", ())]
    parts = [
        _head(name, sets),
        _what(name, head),
        "## Data\n\n" + _data(head),
        "## Training\n\n" + _training(head),
        "## Scores\n\n" + _scores(head, {key: table for key, table in (tables or {}).items() if len(table)}),
        "## Terms\n\n" + bullets(terms(sets, None)) + "\n\nThe model whose tokens it reads has terms of its own.",
        "## Limits\n\n" + bullets(_limits(head)),
        f"## How to use it\n\n```bash\nstnuclei segment slide.svs --checkpoint checkpoint.pt --classifier {file} "
        "--out slide_nuclei\n```\n\n`checkpoint.pt` is the model named above: the classifier reads no other's tokens.",
    ]
    with atomic_write(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _platform(name: str) -> str | None:
    return "pannuke" if name.startswith("pannuke_") else None


def _head(name: str, sets: list[dict[str, Any]]) -> str:
    head = {
        "license": licence(sets),
        "library_name": "stnuclei",
        "pipeline_tag": "image-classification",
        "tags": ["histopathology", "hematoxylin-eosin", "nuclei", "cell-classification"],
        "model_name": name,
    }
    return "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip() + "\n---"


def _what(name: str, head: CellClassifier) -> str:
    facts = head.provenance
    rows = {
        "classes": ", ".join(head.names),
        "taxonomy": (head.taxonomy or {}).get("name", UNKNOWN),
        "tokens of": f"{facts.get('model', UNKNOWN)} ({facts.get('architecture', UNKNOWN)}), "
        f"sha256 `{facts.get('checkpoint', UNKNOWN)}`",
        "token of a nucleus": f"{_TOKENS[head.tokens]}; {head.dim} numbers",
        "head": f"{head.dim} - {head.head.fc1.out_features} - {len(head.names)}",
        "epochs": head.epoch,
        "sha256": f"`{head.sha256}`",
    }
    lines = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    words = "A cell classifier: gives the nuclei that a CellViT finds their classes."
    return f"# {name}\n\n{words}\n\n| | |\n|---|---|\n{lines}"


def _data(head: CellClassifier) -> str:
    facts = head.provenance
    pairs = [(part, *pair) for part in ("train", "validation") for pair in facts.get(part, ())]
    if not pairs:
        return f"Training data: {UNKNOWN}."
    rows = "\n".join(f"| {part} | {name} | {labels} |" for part, name, labels in pairs)
    result = facts["result"]
    return (
        f"| part | set | labels |\n|---|---|---|\n{rows}\n\n{result['nuclei']:,} labelled nuclei to learn from, "
        f"{result['validation_nuclei']:,} to stop by; nuclei without a class are left out."
    )


def _training(head: CellClassifier) -> str:
    settings = {key: value for key, value in head.config.items() if key.startswith("head.")}
    if not settings:
        return f"Recipe: {UNKNOWN}."
    rows = "\n".join(f"| {key.removeprefix('head.')} | {value} |" for key, value in settings.items())
    result, costs = head.provenance["result"], head.provenance["costs"]
    tokens = sum(cost["cpu_seconds"] for cost in costs)
    devices = ", ".join(sorted({cost["device"] for cost in costs}))
    patches = sum(cost["patches"] for cost in costs)
    return (
        f"| setting | value |\n|---|---|\n{rows}\n\nThe tokens of {patches:,} patches took "
        f"{tokens:,.0f} CPU seconds ({devices}), the head {result['cpu_seconds']:,.0f} (cpu)."
    )


def _scores(head: CellClassifier, tables: Mapping[str, pd.DataFrame]) -> str:
    parts = score_tables(tables)
    result = head.provenance.get("result")
    if result:
        parts.append(
            f"On {result['validation_nuclei']:,} validation nuclei, by which training was stopped: macro F1 "
            f"{result['val_macro_f1']:.3f}, accuracy {result['val_accuracy']:.3f}."
        )
    return "\n\n".join(parts) or f"Scores: {UNKNOWN}."


def _limits(head: CellClassifier) -> list[str]:
    limits = ["For research. Not a medical device; nothing here was tested for diagnosis."]
    if unknown := head.provenance.get("absent"):
        limits.append(f"No nucleus that it learned from was {', '.join(unknown)}: it does not give them.")
    counts = head.provenance.get("confusion")
    if counts:
        absent = [name for name, row in zip(head.names, counts, strict=True) if not sum(row)]
        if absent:
            limits.append(f"No validation nucleus was {', '.join(absent)}: how well it tells them is not known.")
    if any(pair[1] != "manual" for pair in head.provenance.get("train", ())):
        limits.append("Its labels come from gene expression and carry the mistakes of the labelling method.")
    return [*limits, "It finds no nuclei of its own: what the model misses has no class."]

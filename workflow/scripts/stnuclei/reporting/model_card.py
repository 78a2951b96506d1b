"""A model card: what a checkpoint is, was made from, can do and may be used for, from its own records.

``python -m stnuclei.reporting.model_card checkpoint.pt --out README.md``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stnuclei.cellvit import load_checkpoint
from stnuclei.cellvit.architectures import FOUNDATION, LIGHT, TINY
from stnuclei.errors import UserError
from stnuclei.evaluation.formatting import FEW_MARK, FEW_NOTE, format_score, is_doubtful
from stnuclei.files import atomic_write, sha256
from stnuclei.reporting.licences import licence, terms

UNKNOWN = "not recorded"
#: Settings of a training a reader asks for first; the rest is in the checkpoint.
RECIPE = (
    "epochs", "batch_size", "samples_per_epoch", "learning_rate", "betas", "weight_decay", "schedule", "gamma",
    "warmup_steps", "freeze_epochs", "encoder_weights", "teacher",
    "teacher_loss", "label_loss", "sampling", "augmentation", "loss_variant", "drop_rate",
    "attention_drop", "drop_path", "precision", "seed",
)  # fmt: skip
_SCORES = {
    "segmentation": ("policy", "slides", "patches", "dice", "jaccard", "bpq", "f1", "precision", "recall"),
    "classification": ("policy", "slides", "nuclei", "macro_f1", "accuracy"),
}
_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


def write_card(
    checkpoint: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    sets: Iterable[Mapping[str, Any]] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write the card of a checkpoint in the form Hugging Face shows: Markdown below a YAML head.

    Everything stands in the checkpoint or in what is given; what neither says is called not recorded.

    Parameters
    ----------
    checkpoint
        File of ours or of the official code.
    out
        README.md.
    name
        Of the model; None: what the checkpoint calls it, else its file's name.
    sets
        Sets of patches it was made from, one mapping each: ``split`` (train, validation, test), ``name``, ``labels``
        and where known ``platform``, ``tissue``, ``patches``, ``nuclei``. None: as far as the checkpoint names them.
    tables
        ``segmentation`` and ``classification``: rows of table 2 and 3 of this model.

    Raises
    ------
    UserError
        If the checkpoint cannot be read.
    """
    model, meta = load_checkpoint(checkpoint)
    meta = meta | {"parameters": sum(p.numel() for p in model.parameters()), "sha256": sha256(checkpoint)}
    name = name or meta["provenance"].get("model") or Path(checkpoint).stem
    sets = _recorded_sets(meta) if sets is None else [dict(entry) for entry in sets]
    tables = {key: table for key, table in (tables or {}).items() if len(table)}
    trained = [entry for entry in sets if entry["split"] == "train"]
    blocks = [
        _head(name, meta, sets, tables),
        _what(name, meta, trained),
        "## Data\n\n" + _data(sets, meta),
        "## Training\n\n" + _recipe(meta),
        "## Scores\n\n" + _scores(meta, tables),
        "## Terms\n\n" + bullets(terms(trained, meta["config"].get("encoder_weights"), meta["architecture"]))
        + "\n\nWhoever passes the model on has to keep to all of these.",
        "## Limits\n\n" + bullets(_limits(meta, trained)),
        "## How to use it\n\n" + _use(Path(checkpoint).name, meta),
    ]  # fmt: skip
    with atomic_write(out) as aside:
        aside.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def _recorded_sets(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sets that the checkpoint's provenance names: pairs of name and labels."""
    sets = []
    for split in _SPLITS:
        for entry in meta["provenance"].get(split) or []:
            name, labels = (list(entry) + [None])[:2] if isinstance(entry, list | tuple) else (str(entry), None)
            platform = "pannuke" if str(name).startswith("pannuke_") else None
            sets.append({"split": split, "name": name, "labels": labels, "platform": platform})
    return sets


def _head(
    name: str, meta: Mapping[str, Any], sets: Sequence[Mapping[str, Any]], tables: Mapping[str, pd.DataFrame]
) -> str:
    trained = [entry for entry in sets if entry["split"] == "train"]
    head: dict[str, Any] = {
        "license": licence(trained, meta["config"].get("encoder_weights"), meta["architecture"]),
        "library_name": "stnuclei",
        "pipeline_tag": "image-segmentation",
        "tags": ["histopathology", "hematoxylin-eosin", "nuclei", "instance-segmentation", "cellvit",
                 meta["architecture"]],
        "datasets": list(dict.fromkeys(entry["name"] for entry in sets if entry["split"] == "train")),
        "metrics": ["f1", "precision", "recall", "accuracy"],
    }  # fmt: skip
    if any(entry.get("labels") not in ("manual", None) for entry in sets):
        head["tags"].insert(4, "spatial-transcriptomics")
    results = [_result(kind, table) for kind, table in tables.items()]
    if results:
        head["model-index"] = [{"name": name, "results": results}]
    return "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip() + "\n---"


def _result(kind: str, table: pd.DataFrame) -> dict[str, Any]:
    """One entry of the head's model-index, by the official way of counting."""
    row = table[table["policy"] == "official"].iloc[0] if "policy" in table else table.iloc[0]
    names = [key for key in _SCORES[kind][3:] if key in table.columns and pd.notna(row[key])]
    names = [key for key in names if not is_doubtful(row, key)]  # a leaderboard shows no marks
    metrics = [{"type": key, "value": round(float(row[key]), 4)} for key in names]
    where = "organs not trained on" if kind == "segmentation" else "annotated slides"
    task = {"type": "image-segmentation" if kind == "segmentation" else "image-classification", "name": kind}
    return {"task": task, "dataset": {"name": where, "type": "custom"}, "metrics": metrics}


def _what(name: str, meta: Mapping[str, Any], trained: Sequence[Mapping[str, Any]]) -> str:
    methods = list(dict.fromkeys(str(entry.get("labels") or UNKNOWN) for entry in trained)) or [UNKNOWN]
    tissues = ", ".join(meta["tissues"]) or "no tissue head"
    rows = {
        "architecture": f"{meta['architecture']} ({meta['parameters']:,} parameters)",
        "classes": ", ".join(meta["classes"]),
        "tissues": tissues,
        "labels": ", ".join(methods),
        "epochs": meta["epoch"] if meta["epoch"] is not None else UNKNOWN,
        "input": f"RGB / 255, mean {list(meta['mean'])}, std {list(meta['std'])}; sides multiples of 16 px",
        "sha256": f"`{meta['sha256']}`",
    }
    lines = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    warnings = "".join(f"**Warning:** {problem}.\n\n" for problem in meta["provenance"].get("warnings", ()))
    return (
        f"# {name}\n\n{warnings}A CellViT that finds and classifies nuclei in H&E slides.\n\n| | |\n|---|---|\n{lines}"
    )


def _data(sets: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]) -> str:
    if not sets:
        return f"Training data: {UNKNOWN}."
    columns = ("name", "platform", "tissue", "patches", "nuclei", "labels")
    rows = ["| split | set | source | tissue | patches | nuclei | labels |", "|---|---|---|---|---|---|---|"]
    for entry in sets:
        cells = [_number(entry.get(key)) for key in columns]
        rows.append(f"| {_SPLITS.get(entry['split'], entry['split'])} | " + " | ".join(cells) + " |")
    trained = [entry for entry in sets if entry["split"] == "train"]
    known = {}
    for key in ("patches", "nuclei"):
        values = [int(entry[key]) for entry in trained if entry.get(key) is not None]
        known[key] = f"{sum(values):,}" if len(values) == len(trained) else UNKNOWN
    methods = "" if all(entry.get("labels") == "manual" for entry in trained) else (
        "\n\nLabels other than `manual` were made from gene expression of the same cells by that method of stnuclei, "
        "not by a pathologist."
    )  # fmt: skip
    return "\n".join(rows) + f"\n\nTraining in all: {known['patches']} patches, {known['nuclei']} nuclei.{methods}"


def _number(value: Any) -> str:
    if value is None or value == "":
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) else str(value)


def _recipe(meta: Mapping[str, Any]) -> str:
    recipe = {key: meta["config"][key] for key in RECIPE if key in meta["config"]}
    if recipe.get("encoder_weights"):
        recipe["encoder_weights"] = Path(recipe["encoder_weights"]).name
    if not recipe.get("teacher"):
        recipe = {key: value for key, value in recipe.items() if key not in ("teacher", "teacher_loss", "label_loss")}
    if not recipe:
        return f"Recipe: {UNKNOWN}."
    rows = "\n".join(f"| {key} | {'none' if value is None else value} |" for key, value in recipe.items())
    return f"| setting | value |\n|---|---|\n{rows}"


def _scores(meta: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    blocks = score_tables(tables)
    last = meta["provenance"].get("scores") or {}
    if last:
        listing = ", ".join(f"{key.removeprefix('val_')} {format_score(last, key).value}" for key in last)
        note = f" {FEW_NOTE}" if FEW_MARK in listing else ""
        blocks.append(f"On the validation set after the last epoch: {listing}.{note}")
    return "\n\n".join(blocks) or f"Scores: {UNKNOWN}."


def score_tables(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Rows of table 2 and 3 in Markdown, one text a table."""
    blocks = []
    words = {
        "segmentation": "Segmentation of slides of organs it was never trained on (table 2)",
        "classification": "Classification against manual annotation (table 3)",
    }
    for kind, table in tables.items():
        columns = [key for key in _SCORES[kind] if key in table.columns]
        columns += [key for key in table.columns if kind == "classification" and key.startswith("f1_")]
        rows = [[_score(row, key) for key in columns] for row in table.to_dict("records")]
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        text = f"{words[kind]}:\n\n" + "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
        blocks.append(text + (f"\n\n{FEW_NOTE}" if FEW_MARK in text else ""))
    return blocks


def _score(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if is_doubtful(row, key):
        return format_score(row, key).value
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:,.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.3f}"
    return _number(value)


def bullets(lines: Iterable[str]) -> str:
    """List in Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def _limits(meta: Mapping[str, Any], trained: Sequence[Mapping[str, Any]]) -> list[str]:
    limits = ["For research. Not a medical device; nothing here was tested for diagnosis."]
    expression = [entry for entry in trained if entry.get("labels") not in ("manual", None)]
    if expression and len(expression) == len(trained):
        hidden = [
            entry["name"] for entry in (meta["taxonomy"] or {}).get("classes", ()) if not entry.get("expression", True)
        ]
        if hidden:
            limits.append(f"Gene expression cannot label {', '.join(hidden)}: the model was never shown that class.")
    if expression:
        limits.append("Its labels come from gene expression and carry the mistakes of the labelling method.")
    if any(entry.get("platform") == "simulated" for entry in trained):
        limits.append("Trained on simulated tissue: it shows how the machinery runs and is of no use on real slides.")
    if meta["tissues"]:
        limits.append(f"Trained on {', '.join(meta['tissues'])} only; elsewhere its scores may be lower.")
    else:
        limits.append(f"Organs it was trained on: {UNKNOWN}.")
    return [
        *limits,
        "Stain, scanner and pixel size (um/px) other than those of its data can cost accuracy; check the overview.",
    ]


def _use(file: str, meta: Mapping[str, Any]) -> str:
    formats = "onnx  # or official, pt2" if meta["arch"] not in (FOUNDATION, LIGHT, TINY) else "onnx  # or pt2"
    return f"""With stnuclei installed:

```bash
stnuclei segment slide.svs --checkpoint {file} --out slide_nuclei
stnuclei export {file} --out model.onnx --format {formats}
```

The first writes `nuclei.parquet` (GeoParquet), GeoJSON for QuPath, counts and pictures. Or in Python:

```python
from stnuclei.cellvit import load_checkpoint

model, metadata = load_checkpoint("{file}")  # model(x) gives logits; x: (B, 3, H, W), normalised as above
```"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 1 and one sentence on a user's mistake."""
    options = argparse.ArgumentParser(prog="python -m stnuclei.reporting.model_card", description="Write a model card.")
    options.add_argument("checkpoint", type=Path, help="checkpoint of stnuclei or of CellViT")
    options.add_argument("--out", type=Path, required=True, help="README.md to write")
    options.add_argument("--name", help="of the model")
    chosen = options.parse_args(arguments)
    try:
        write_card(chosen.checkpoint, chosen.out, name=chosen.name)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

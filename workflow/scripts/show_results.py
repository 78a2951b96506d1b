"""Print scores and training sets of a finished run, and what to open: ``python show_results.py RESULTS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

#: Columns of tables 2 and 3 that fit a terminal, and their headings.
SEGMENTATION = {"dice": "dice", "bpq": "bPQ", "f1": "detection F1"}
CLASSES = {"macro_f1": "macro F1", "accuracy": "accuracy", "false_negatives": "nuclei missed"}


def main(results: Path) -> None:
    """Print scores, training sets and the path of the report."""
    tables = results / "tables"
    print_scores(tables / "table2.tsv", "Segmentation of organs no model was trained on", SEGMENTATION)
    print_scores(tables / "table3.tsv", "Classes of nuclei on the annotated slides", CLASSES)
    print("Training set of each model")
    for run in sorted((results / "models").glob("*/training/run.json")):
        print(f"  {run.parts[-3]:14} {training_set(run, results)}")
    print(f"\nOpen {results / 'report.html'} in a browser: figures, intervals, and what every file is.")


def print_scores(table: Path, title: str, columns: dict[str, str]) -> None:
    """Print some columns of a table, counted as the published code counts; intervals stand in the report."""
    if not table.is_file():
        return
    scores = pd.read_csv(table, sep="\t").query("policy == 'official'").set_index("model")
    print(f"{title}\n  {'':14}" + "".join(f"{heading:>15}" for heading in columns.values()))
    for model, row in scores.iterrows():
        values = [f"{row[name]:,.0f}" if name == "false_negatives" else f"{row[name]:.3f}" for name in columns]
        print(f"  {model:14}" + "".join(f"{value:>15}" for value in values))
    print()


def training_set(run: Path, results: Path) -> str:
    """Sentence on a model's training data: nuclei, who labelled them, and how long that took where it was measured."""
    manual = expression = 0
    seconds = 0.0
    for source in json.loads(run.read_text())["sources"]:
        labels = Path(source["labels"])
        nuclei = len(pd.read_parquet(labels, columns=["label"]).query("label != 'Unknown'"))
        if labels.stem == "manual":
            manual += nuclei
            continue
        expression += nuclei
        sample = labels.parts[-3]
        times = [f"cluster_cells/{sample}.tsv", f"label_cells/{sample}.{labels.stem}.tsv"]
        seconds += sum(pd.read_csv(results / "benchmarks" / name, sep="\t")["s"].iloc[-1] for name in times)
    sentences = [f"{manual:,} nuclei with manual outlines and classes"] * bool(manual)
    if expression:
        minutes = f"{seconds / 60:.1f} minutes of computing"
        sentences.append(f"{expression:,} nuclei labelled from expression in {minutes}, none by hand")
    return "; ".join(sentences)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

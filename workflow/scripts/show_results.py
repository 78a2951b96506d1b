"""Print a finished run's tables, what each model learnt from, and what to open: ``python show_results.py RESULTS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd


def main(results: Path) -> None:
    """Print the tables and the paths of report, tables and checkpoints, first what to open first."""
    for table in sorted((results / "tables").glob("table[23].md")):  # the rest stands in the report
        print(table.read_text().rstrip(), end="\n\n")
    print("What each model learnt from:")
    for run in sorted((results / "models").glob("*/training/run.json")):
        print(f"  {run.parts[-3]:11} {learnt_from(run, results)}")
    print("\nOpen this first:")
    print(f"  report      {results / 'report.html'}  (in a browser)")
    print(f"  tables      {results / 'tables'}")
    print(f"  figures     {results / 'figures'}")
    for checkpoint in sorted((results / "models").glob("*/checkpoint.pt")):
        print(f"  checkpoint  {checkpoint}")
    for folder in sorted((results / "slides").glob("*/*/qupath")):
        print(f"  for QuPath  {folder}")


def learnt_from(run: Path, results: Path) -> str:
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

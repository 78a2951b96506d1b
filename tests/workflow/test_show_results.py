"""The demo's last words: scores, the training set of each model, and what to open."""

import json
import subprocess
import sys

import pandas as pd

from paths import ROOT


def test_both_sides_of_the_comparison_are_counted(tmp_path):
    results = tmp_path / "results"
    sides = {"st": ("breast", "stnuclei", ["Neoplastic"] * 30 + ["Unknown"] * 5)}
    sides["manual"] = ("pannuke_1", "manual", ["Dead"] * 7)
    for model, (sample, method, labels) in sides.items():
        folder = results / "samples" / sample / "labels"
        folder.mkdir(parents=True)
        pd.DataFrame({"label": labels}).to_parquet(folder / f"{method}.parquet")
        (results / "models" / model / "training").mkdir(parents=True)
        run = {"sources": [{"patches": "p", "labels": str(folder / f"{method}.parquet")}]}
        (results / "models" / model / "training" / "run.json").write_text(json.dumps(run))
    for name in ("cluster_cells/breast", "label_cells/breast.stnuclei"):
        path = results / "benchmarks" / f"{name}.tsv"
        path.parent.mkdir(parents=True)
        path.write_text("s\tcpu_time\n60.0\t1\n")
    command = [sys.executable, str(ROOT / "workflow" / "scripts" / "show_results.py"), str(results)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "30 nuclei labelled from expression in 2.0 minutes of computing, none by hand" in text
    assert "7 nuclei with manual outlines and classes" in text
    assert "report.html in a browser" in text


def test_scores_fit_a_terminal(tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    rows = {"model": ["st", "st"], "policy": ["official", "corrected"], "dice": [0.9, 0.1], "bpq": 0.7, "f1": 0.8}
    pd.DataFrame(rows).to_csv(tables / "table2.tsv", sep="\t", index=False)
    command = [sys.executable, str(ROOT / "workflow" / "scripts" / "show_results.py"), str(tmp_path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in text.splitlines() if line.startswith("  st"))
    assert line.split() == ["st", "0.900", "0.700", "0.800"] and "0.100" not in text
    assert len(line) <= 80

"""A small finished run on disk: what the workflow leaves, with made-up numbers and plain pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from paths import ROOT
from stnuclei.config import expand_runs, with_defaults
from stnuclei.reporting import ReportRun

SAMPLES = {
    "breast": {
        "tissue": "Breast",
        "split": "train",
        "platform": "xenium",
        "donor": "study/donor 1",
        "disease": "cancer",
    },
    "brain": {"tissue": "Brain", "split": "seg_eval", "platform": "hest", "donor": "", "disease": ""},
    "colon": {"tissue": "Colon", "split": "cls_eval", "platform": "xenium", "donor": "", "disease": "<b>normal</b>"},
}
MODELS = {
    "st": {"train": [{"samples": "train", "labels": "stnuclei"}], "seeds": [1, 2]},
    "pannuke": {"train": [{"pannuke": [1]}], "test": [{"pannuke": [3]}]},
}


def photograph(path: Path, width: int = 640, height: int = 480) -> None:
    """Noise, which no chart looks like."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save(path)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def sample(folder: Path, *, passed: bool = True) -> None:
    for name in ("alignment.png", "tissue.png", "labels.png", "patches.png", "labels/stnuclei.png"):
        photograph(folder / name)
    message = "sample x: nuclei lie on nuclei" if passed else "sample x: nuclei lie 9 um off"
    write_json(folder / "alignment.json", {"passed": passed, "message": message, "shift_um": [0.3, 0.4]})
    counts = {"patches": 7, "nuclei": 120, "nuclei_in": 100, "nuclei_placed": 99, "dropped": {"too few nuclei": 2}}
    write_json(folder / "patches.zarr" / "zarr.json", {"attributes": {"counts": counts}})
    store = {
        "um_per_px": 0.2738,
        "image": {"shape": [900, 1200, 3]},
        "provenance": {"software": "Xenium-3", "warnings": []},
    }
    write_json(folder / "sample.zarr" / "zarr.json", {"attributes": {"stnuclei": store}})
    labels = ["Neoplastic"] * 6 + ["Connective"] * 3 + ["Unknown"]
    undecided = ["Epithelial|Neoplastic"] * 2 + [""] * 8
    pd.DataFrame({"label": labels, "alternatives": undecided}).to_parquet(folder / "labels" / "stnuclei.parquet")
    evidence = {
        "cluster": [0, 1],
        "n_cells": [60, 40],
        "top_genes": ["A,B", "C"],
        "decision": ["Neoplastic", "Unknown"],
    }
    pd.DataFrame(evidence | {"why": ["because", np.nan]}).to_csv(
        folder / "labels" / "stnuclei.evidence.tsv", sep="\t", index=False
    )


def tables(folder: Path) -> None:
    folder.mkdir(parents=True)
    row = {
        "model": "st",
        "policy": "",
        "runs": 2,
        "slides": 1,
        "patches": 7,
        "bpq": 0.41,
        "bpq_sd": 0.02,
        "bpq_patch_low": 0.35,
    }
    row |= {"bpq_patch_high": 0.47, "bpq_paper": 0.4018, "f1": 0.75, "f1_sd": 0.01, "f1_slide_low": np.nan}
    other = row | {"model": "pannuke", "runs": 1, "bpq": 0.3, "bpq_sd": np.nan, "f1_sd": np.nan}
    policies = [one | {"policy": policy} for one in (row, other) for policy in ("official", "corrected")]
    policies[3]["f1"] = 0.7
    pd.DataFrame(policies).to_csv(folder / "table2.tsv", sep="\t", index=False)
    classes = [
        {"model": "st", "policy": "official", "sample": "colon", "class": name, "pq": 0.5}
        for name in ("Neoplastic", "mean")
    ]
    pd.DataFrame(classes).to_csv(folder / "classes.tsv", sep="\t", index=False)
    data = {"dataset": ["st"], "split": ["train"], "slides": [1], "nuclei": [100], "paper_nuclei": [6643746]}
    pd.DataFrame(data).to_csv(folder / "table1.tsv", sep="\t", index=False)
    pd.DataFrame({"gene": ["EPCAM"], "r": [0.5]}).to_csv(folder / "genes.tsv", sep="\t", index=False)


def finished_run(folder: Path) -> ReportRun:
    """Write the run and say what a report needs of it."""
    results = folder / "results"
    for name in SAMPLES:
        sample(results / "samples" / name, passed=name != "brain")
    models, groups = expand_runs(MODELS)
    for name in models:
        own = results / "models" / name
        for picture in ("curves.png", "scores/colon.confusion.png", "scores/brain.errors.png"):
            photograph(own / picture)
        history = {"epoch": [1, 2], "train_loss": [9.0, 8.0], "val_bpq": [0.1, 0.2], "patches_per_s": [5.0, 6.0]}
        pd.DataFrame(history).to_csv(own / "history.csv", index=False)
        jobs = folder / "benchmarks" / "train_model" / f"{name}.tsv"
        jobs.parent.mkdir(parents=True, exist_ok=True)
        jobs.write_text("s\th:m:s\tmax_rss\tcpu_time\n3725.5\t1:02:05\t1200.5\t3000\n")
    tables(results / "tables")
    photograph(results / "figures" / "figure2.png", 2400, 1200)
    photograph(results / "slides" / "a_slide" / "st" / "overview.png")
    write_json(results / "provenance.json", {"code": {"commit": "abc123"}, "versions": {"torch": "2.13"}})
    config = with_defaults({"models": models}, yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    warnings = ["samples a and b share a donor"]
    return ReportRun(results, folder / "benchmarks", config, SAMPLES, ["stnuclei"], groups, warnings)

"""Page and card of a cell classifier: what its folder and file say, and nothing made up."""

import numpy as np
import pandas as pd
import pytest
import torch

from stnuclei.cellvit import CellClassifier, save_classifier
from stnuclei.cellvit.classifier import ClassifierHead
from stnuclei.classifiers import classifier_table
from stnuclei.config import check_config
from stnuclei.reporting import ReportRun, write_classifier_card
from stnuclei.reporting.classifiers import classifier_page
from stnuclei.taxonomy import Taxonomy


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    taxonomy = Taxonomy.load("pannuke")
    confusion = np.diag([5, 4, 3, 0, 2])
    cost = {"set": "a", "nuclei": 90, "patches": 12, "device": "cuda", "seconds": 3.0, "cpu_seconds": 4.0}
    provenance = {
        "classifier": "fine",
        "model": "st",
        "checkpoint": "ab" * 32,
        "architecture": "cellvit-tiny",
        "nuclei": "run",
        "train": [["a", "stnuclei"]],
        "validation": [["b", "stnuclei"]],
        "costs": [cost, {**cost, "set": "b"}],
        "confusion": confusion.tolist(),
        "absent": ["Dead"],
        "result": {
            "nuclei": 90,
            "validation_nuclei": 14,
            "epochs": 7,
            "seconds": 1.5,
            "cpu_seconds": 2.5,
            "val_macro_f1": 0.75,
            "val_accuracy": 0.875,
        },
    }
    config = {"head.hidden": 8, "head.epochs": 50}
    return CellClassifier(
        ClassifierHead(96, 8, 5).eval(), taxonomy.names, taxonomy.to_dict(), "nucleus", config, provenance, 7
    )


def test_the_card_says_what_the_file_does(classifier, tmp_path):
    save_classifier(tmp_path / "c.pt", classifier)
    row = {"model": ["fine"], "policy": ["official"], "nuclei": [300], "macro_f1": [0.5], "accuracy": [0.625]}
    write_classifier_card(tmp_path / "c.pt", tmp_path / "README.md", tables={"classification": pd.DataFrame(row)})
    text = (tmp_path / "README.md").read_text()
    for words in (
        "# fine",
        "| tokens of | st (cellvit-tiny), sha256 `abab",
        "| head | 96 - 8 - 5 |",
        "90 labelled nuclei to learn from, 14 to stop by",
        "The tokens of 24 patches took 8 CPU seconds (cuda), the head 2 (cpu)",
        "macro F1 0.750, accuracy 0.875",
        "0.625",
        "No nucleus that it learned from was Dead: it does not give them.",
        "No validation nucleus was Dead",
        "labels come from gene expression",
        "--classifier c.pt",
    ):
        assert words in text, words


def test_the_card_of_an_official_file_says_what_is_not_recorded(tmp_path):
    save_classifier(tmp_path / "c.pt", CellClassifier(ClassifierHead(1280, 8, 2).eval(), ("class 0", "class 1")))
    write_classifier_card(tmp_path / "c.pt", tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text()
    assert "Training data: not recorded" in text and "Scores: not recorded" in text and "Recipe: not recorded" in text


def test_the_table_has_the_cost_beside_the_scores(classifier):
    (row,) = classifier_table({"fine": classifier}).to_dict("records")
    assert row["model"] == "fine" and row["patches"] == 24 and row["device"] == "cuda"
    assert (row["token_cpu_seconds"], row["head_cpu_seconds"], row["val_accuracy"]) == (8.0, 2.5, 0.875)


def test_the_page_shows_cost_and_curves(tmp_path):
    folder = tmp_path / "models" / "fine"
    folder.mkdir(parents=True)
    pd.DataFrame({"epoch": [1, 2], "val_loss": [1.0, 0.9]}).to_csv(folder / "history.csv", index=False)
    cost = pd.DataFrame(
        {"step": ["tokens", "head"], "set": ["a", "all"], "patches": [12, None], "cpu_seconds": [4.0, 2.5]}
    )
    cost.to_csv(folder / "cost.tsv", sep="\t", index=False)
    for name in ("curves.png", "confusion.png"):
        (folder / name).write_bytes(b"png")
    entry = {"model": "st", "train": [{"samples": "train", "labels": "stnuclei"}], "head": {"hidden": 0}}
    config = check_config({"classifiers": {"fine": entry}})
    run = ReportRun(tmp_path, tmp_path / "none", config, {}, ["stnuclei"], {"st": "st", "fine": "fine"})
    assert run.models == ["st"] and run.classifiers == ["fine"] and run.link_of("model", "fine") == "models/fine"
    page = classifier_page(run, "fine")
    facts = dict(page.facts)
    assert facts["head"] == "linear" and facts["epochs"] == "2 of 50" and facts["tokens of"] == "st"
    sections = {section.title: section for section in page.sections}
    assert [picture.path.name for picture in sections["Training"].pictures] == ["curves.png", "confusion.png"]
    assert [entry.text for entry in sections["Cost"].tables[0].rows[0]][:3] == ["tokens", "a", "12"]
    assert "labels by stnuclei" in page.lead

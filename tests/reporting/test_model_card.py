"""Model cards: what the checkpoint and the tables say, terms of the sources, and nothing made up."""

import hashlib

import pandas as pd
import pytest
import torch
import yaml

from stnuclei.cellvit import build_model, save_checkpoint
from stnuclei.reporting import write_card
from stnuclei.reporting.licences import licence, terms
from stnuclei.reporting.model_card import main


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    provenance = {
        "model": "st",
        "train": [["lung_1", "paper"], ["pannuke_1", "manual"]],
        "validation": [["lung_2", "paper"]],
        "scores": {"val_bpq": 0.512},
    }
    config = {"epochs": 130, "learning_rate": 3e-4, "encoder_weights": None}
    save_checkpoint(
        tmp_path / "m.pt",
        build_model("cellvit-tiny", 6, ["Lung"]),
        taxonomy="pannuke",
        tissues=["Lung"],
        config=config,
        epoch=130,
        provenance=provenance,
    )
    return tmp_path / "m.pt"


def parts(path):
    text = path.read_text()
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_card_of_the_checkpoint_alone_says_what_is_not_recorded(checkpoint, tmp_path):
    assert main([str(checkpoint), "--out", str(tmp_path / "README.md")]) == 0
    head, body = parts(tmp_path / "README.md")
    assert head["license"] == "cc-by-nc-sa-4.0"
    assert head["datasets"] == ["lung_1", "pannuke_1"]
    assert "model-index" not in head
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in body
    assert "| training | lung_1 | not recorded | not recorded | not recorded | not recorded | paper |" in body
    assert "Training in all: not recorded patches" in body
    assert "| learning_rate | 0.0003 |" in body
    assert "bpq 0.512" in body
    assert "was never shown" not in body  # PanNuke's labels have every class


def test_card_with_sets_and_tables(checkpoint, tmp_path):
    sets = [
        {"split": "train", "name": "lung_1", "labels": "stnuclei", "platform": "hest", "tissue": "Lung"}
        | {"patches": 1200, "nuclei": 34567},
        {"split": "test", "name": "lung_3", "labels": "manual", "platform": "xenium", "tissue": "Lung"}
        | {"patches": 10, "nuclei": 99},
    ]
    tables = {
        "segmentation": pd.DataFrame(
            {"policy": ["official", "corrected"], "slides": [8, 8], "bpq": [0.4018, 0.41], "f1": [0.7562, 0.76]}
        ),
        "classification": pd.DataFrame(),
    }
    write_card(checkpoint, tmp_path / "README.md", name="ours", sets=sets, tables=tables)
    head, body = parts(tmp_path / "README.md")
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert {"type": "bpq", "value": 0.4018} in metrics
    assert head["model-index"][0]["name"] == "ours"
    assert "spatial-transcriptomics" in head["tags"]
    assert "| training | lung_1 | hest | Lung | 1,200 | 34,567 | stnuclei |" in body
    assert "Training in all: 1,200 patches, 34,567 nuclei." in body
    assert "| corrected | 8 | 0.410 | 0.760 |" in body
    assert "Gene expression cannot label Dead: the model was never shown that class." in body
    assert "HEST-1k" in body
    assert "PanNuke (Gamper" not in body


def test_terms_follow_the_sources():
    paper = [{"platform": "xenium", "labels": "paper"}]
    assert licence(paper) == "cc-by-nc-4.0"
    assert any("CancerSEA" in line for line in terms(paper, None))
    ours = [{"platform": "xenium", "labels": "stnuclei"}]
    assert licence(ours) == "other"
    assert not any("CancerSEA" in line for line in terms(ours, None))
    assert any("hipt.pth" in line for line in terms(ours, "weights/hipt.pth"))
    assert any("not recorded" in line for line in terms([], None))
    assert licence([{"platform": "pannuke", "labels": "manual"}]) == "cc-by-nc-sa-4.0"


def test_terms_of_an_encoder_follow_its_file_or_its_network():
    ours = [{"platform": "xenium", "labels": "stnuclei"}]
    file = "results/weights/MahmoodLab--UNI--pytorch_model.bin"
    assert licence(ours, file) == licence(ours, "own.bin", "cellvit-uni2-h") == "cc-by-nc-nd-4.0"
    assert licence(ours, "own.bin", "cellvit-h-optimus-0") == licence(ours, None, "cellvit-uni") == "other"
    assert any("UNI--pytorch_model.bin: CC BY-NC-ND 4.0" in line for line in terms(ours, file))
    (line,) = [line for line in terms(ours, "own.bin", "cellvit-gigapath") if "own.bin" in line]
    assert line == "encoder began with own.bin: weights of prov-gigapath/prov-gigapath, Apache 2.0 with conditions"


def test_a_wrong_file_is_told_in_a_sentence(tmp_path, capsys):
    (tmp_path / "m.pt").write_text("nothing")
    assert main([str(tmp_path / "m.pt"), "--out", str(tmp_path / "README.md")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "README.md").exists()


def test_card_warns_of_a_training_that_learned_nothing(tmp_path):
    scores = {"val_detection_recall": 0.001, "val_pairs": 1.0, "val_macro_f1": 1.0}
    provenance = {"model": "st", "scores": scores, "warnings": ["it finds hardly any nucleus"]}
    model = build_model("cellvit-tiny", 6, ["Lung"])
    save_checkpoint(
        tmp_path / "m.pt", model, taxonomy="pannuke", tissues=["Lung"], config={}, epoch=2, provenance=provenance
    )
    table = pd.DataFrame([{"model": "st", "policy": "official", "slides": 1, "nuclei": 3, "macro_f1": 1.0}])
    write_card(tmp_path / "m.pt", tmp_path / "README.md", tables={"classification": table})
    head, body = parts(tmp_path / "README.md")
    assert "**Warning:** it finds hardly any nucleus." in body
    assert body.count("1.00 \N{DAGGER}") == 2 and "over fewer than 50 nuclei" in body
    assert head["model-index"][0]["results"][0]["metrics"] == []

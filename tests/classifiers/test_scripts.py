"""The rules' scripts one after another, as Snakemake calls them: tokens, classifier, predictions, table, card."""

import pandas as pd
import pytest

from faults.jobs import run_job
from stnuclei.cellvit import load_classifier
from stnuclei.classifiers import TokenStore
from stnuclei.config import ClassifierSettings
from stnuclei.patches import PredictionStore


@pytest.fixture(scope="module")
def made(checkpoint, stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    prediction = {"batch_size": 16, "precision": "fp32"}
    run_job(
        "extract_tokens",
        folder,
        {"checkpoint": checkpoint, "patches": stores[0]},
        {"tokens": "tokens.zarr"},
        {"settings": prediction},
        **{"set": "first", "base": "st", "tokens": "nucleus", "nuclei": "run"},
    )
    inputs = {"tokens": [folder / "tokens.zarr"], "labels": [stores[0].parent / "labels.parquet"]}
    params = {
        "sources": {"train": [["first", "stnuclei"]], "validation": []},
        "model": "st",
        "taxonomy": "pannuke",
        "settings": {**ClassifierSettings(epochs=3, batch_size=16).to_dict(), "seed": 3},
    }
    inputs |= {"validation_tokens": [], "validation_labels": []}
    run_job("train_classifier", folder, inputs, {"classifier": "classifier.pt"}, params, classifier="fine")
    inputs = {"checkpoint": checkpoint, "classifier": folder / "classifier.pt", "patches": stores[1]}
    params = {"settings": prediction, "taxonomy": "pannuke"}
    names = {"classifier": "fine", "set": "second"}
    run_job("predict_patches", folder, inputs, {"predictions": "predictions.zarr"}, params, **names)
    inputs, outputs = {"classifiers": [folder / "classifier.pt"]}, {"tsv": "table.tsv", "md": "table.md"}
    run_job("write_classifier_table", folder, inputs, outputs, {"names": ["fine"]})
    scores = pd.DataFrame({"model": ["fine", "st"], "policy": "official", "nuclei": 300, "macro_f1": [0.5, 0.25]})
    scores.to_csv(folder / "table3.tsv", sep="\t", index=False)
    inputs = {"classifier": folder / "classifier.pt", "tables": [folder / "table3.tsv"]}
    run_job("write_classifier_card", folder, inputs, {"card": "README.md"}, classifier="fine")
    return folder


def test_every_script_leaves_its_output(made, stores):
    assert TokenStore(made / "tokens.zarr").attrs["tokens"] == "nucleus"
    classifier = load_classifier(made / "classifier.pt")
    assert classifier.provenance["train"] == [["first", "stnuclei"]] and classifier.config["head.seed"] == 3
    predictions = PredictionStore(made / "predictions.zarr")
    assert predictions.classes == classifier.classes and len(predictions) == 24
    assert predictions.attrs["model"]["classifier"]["sha256"] == classifier.sha256
    table = predictions.table
    assert (table["class_probabilities"].argmax(1) == table["class"]).all() and (table["class"] > 0).all()
    assert len(table) == 0 or abs(table["class_probabilities"].sum(1) - 1).max() < 1e-5


def test_the_table_and_the_card_are_of_this_classifier(made):
    row = pd.read_csv(made / "table.tsv", sep="\t").iloc[0]
    assert row["model"] == "fine" and row["tokens_of"] == "st" and row["patches"] == 24 and row["device"] == "cpu"
    card = (made / "README.md").read_text()
    assert "0.500" in card and "0.250" not in card and "| train | first | stnuclei |" in card

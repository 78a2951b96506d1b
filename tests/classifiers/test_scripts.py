"""The rules' scripts one after another, as Snakemake calls them: tokens, classifier, predictions, table, card."""

import runpy
from types import SimpleNamespace

import pandas as pd
import pytest

from paths import ROOT
from stnuclei.cellvit import load_classifier
from stnuclei.classifiers import TokenStore
from stnuclei.config import ClassifierSettings
from stnuclei.patches import PredictionStore


class Names(SimpleNamespace):
    """Names with `get`, like Snakemake's lists."""

    def get(self, name, default=None):
        return getattr(self, name, default)


def run(script, tmp_path, **parts):
    parts = {name: Names(**content) for name, content in parts.items()}
    given = {"params": Names(), "wildcards": Names(), "resources": Names(gpu=0), **parts}
    fake = Names(**given, threads=1, log=[str(tmp_path / f"{script}.log")])
    runpy.run_path(str(ROOT / "workflow" / "scripts" / f"{script}.py"), {"snakemake": fake})


@pytest.fixture(scope="module")
def made(checkpoint, stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    prediction = {"batch_size": 16, "precision": "fp32"}
    run(
        "extract_tokens",
        folder,
        input={"checkpoint": checkpoint, "patches": stores[0]},
        output={"tokens": folder / "tokens.zarr"},
        params={"settings": prediction},
        wildcards={"set": "first", "base": "st", "tokens": "nucleus", "nuclei": "run"},
    )
    run(
        "train_classifier",
        folder,
        input={
            "tokens": [folder / "tokens.zarr"],
            "labels": [stores[0].parent / "labels.parquet"],
            "validation_tokens": [],
            "validation_labels": [],
        },
        output={"classifier": folder / "classifier.pt"},
        params={
            "sources": {"train": [["first", "stnuclei"]], "validation": []},
            "model": "st",
            "taxonomy": "pannuke",
            "settings": {**ClassifierSettings(epochs=3, batch_size=16).to_dict(), "seed": 3},
        },
        wildcards={"classifier": "fine"},
    )
    run(
        "classify_patches",
        folder,
        input={"checkpoint": checkpoint, "classifier": folder / "classifier.pt", "patches": stores[1]},
        output={"predictions": folder / "predictions.zarr"},
        params={"settings": prediction, "taxonomy": "pannuke"},
        wildcards={"classifier": "fine", "set": "second"},
    )
    run(
        "write_classifier_table",
        folder,
        input={"classifiers": [folder / "classifier.pt"]},
        output={"tsv": folder / "table.tsv", "md": folder / "table.md"},
        params={"names": ["fine"]},
    )
    scores = pd.DataFrame({"model": ["fine", "st"], "policy": "official", "nuclei": 300, "macro_f1": [0.5, 0.25]})
    scores.to_csv(folder / "table3.tsv", sep="\t", index=False)
    run(
        "write_classifier_card",
        folder,
        input={"classifier": folder / "classifier.pt", "tables": [folder / "table3.tsv"]},
        output={"card": folder / "README.md"},
        wildcards={"classifier": "fine"},
    )
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

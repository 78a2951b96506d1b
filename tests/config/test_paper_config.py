"""The paper's configuration: the table in its README names file and setting of every sentence, and both are true."""

import os
import re
from pathlib import Path

import pytest
import yaml

from paths import ROOT
from stnuclei.config import check_config, check_weights, expand_runs, with_defaults

PAPER = ROOT / "config" / "paper"
PACKAGE = ROOT / "workflow" / "scripts" / "stnuclei"
SETTING = re.compile(r"`([a-z_0-9]+(?:\.[a-z_0-9]+)*): ([^`]+)`")


def shipped():
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.fixture(scope="module")
def config():
    return check_config(with_defaults(yaml.safe_load((PAPER / "config.yaml").read_text()), shipped()))


def section(title):
    text = (PAPER / "README.md").read_text()
    return text.partition(f"## {title}")[2].partition("\n## ")[0]


def rows():
    lines = [line for line in section("Every sentence of the method").splitlines() if line.startswith('| "')]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_setting_of_the_table_is_the_configurations(config):
    listed = SETTING.findall(section("Every sentence of the method"))
    assert len(listed) > 60
    for key, text in listed:
        value = config
        for part in key.split("."):
            assert part in value, f"{key} is no setting"
            value = value[part]
        assert value == yaml.safe_load(text), key


def test_every_file_of_the_table_is_there():
    for row in rows():
        files = re.findall(r"`([^`]+)`", row[1])
        assert files, row[0]
        for file in files:
            assert (PACKAGE / file).is_file() or (ROOT / file).is_file(), file


def test_every_value_that_differs_from_the_shipped_configuration_is_in_the_table(config):
    """What config/paper changes of the method is in the table, so that none of it goes unsaid."""
    listed = {key for key, _ in SETTING.findall((PAPER / "README.md").read_text())}
    default = check_config(shipped())

    def differences(ours, theirs, path=""):
        for key, value in ours.items():
            if isinstance(value, dict) and isinstance(theirs.get(key), dict):
                yield from differences(value, theirs[key], f"{path}{key}.")
            elif value != theirs.get(key):
                yield f"{path}{key}"

    changed = {key for key in differences(config, default) if not key.startswith("models.")}
    assert changed - listed == {"results", "pannuke.path", "labels.methods", "evaluation.allow_shared_donors"}


def test_every_sentence_of_the_method_has_a_row():
    folder = Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared"))
    paper = folder / "paper" / "arxiv-2604.23481.txt"
    if not paper.is_file():
        pytest.skip(f"{paper} is not there (STNUCLEI_SHARED)")
    text = paper.read_text().replace("\xa0", " ")
    quotes = [row[0].strip('"') for row in rows()]
    for quote in quotes:
        assert quote in text, quote
    method = text.partition("4.1 Dataset Generation")[2].partition("Table 1: Dataset statics")[0]
    paragraphs = [line for line in method.splitlines() if len(line) > 60 and not line.startswith("Ltotal")]
    sentences = [s for line in paragraphs for s in re.split(r"(?<=[a-z\]})])\. (?=[A-Z])", line)]
    titles = ("Marker Gene-Based Cluster Classification", "Transcriptomic Clustering", "Neoplastic Refinement")
    sentences = [s for s in sentences if len(s) > 25 and s not in titles]
    assert len(sentences) > 25
    missing = [s for s in sentences if not any(quote in s for quote in quotes)]
    assert not missing, missing


def test_all_models_start_from_pretrained_weights_and_the_folds_are_the_official_splits(config):
    check_weights(config)
    models, runs = expand_runs(config["models"])
    assert config["training"]["encoder_weights"].endswith("vit256_small_dino.pth")
    assert not any("encoder_weights" in entry.get("training", {}) for entry in models.values())
    splits = [
        tuple(entry[part][0]["pannuke"][0] for part in ("train", "validation", "test"))
        for name, entry in models.items()
        if runs[name] == "pannuke"
    ]
    assert splits == [(1, 2, 3), (2, 1, 3), (3, 2, 1)]
    trained_on_slides = [entry for name, entry in models.items() if runs[name] not in ("pannuke", "mixed")]
    assert {str(entry["validation"]) for entry in trained_on_slides} == {"[{'pannuke': [1, 2, 3]}]"}
    assert config["hest"]["revision"] == "v1.1.0"

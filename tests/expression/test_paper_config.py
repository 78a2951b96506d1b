"""The ready configuration of the second paper's data sets."""

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from paths import ROOT
from runner import Workflow, count
from stnuclei.config import check_config, check_weights, encoder_urls, with_defaults

CONFIG = ROOT / "config" / "expression_paper" / "config.yaml"


@pytest.fixture(scope="module")
def config():
    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    return check_config(with_defaults(yaml.safe_load(CONFIG.read_text()), shipped))


def test_every_model_names_pretrained_weights_of_its_network(config):
    check_weights(config)
    assert len(encoder_urls(config)) == 3
    networks = {(config["expression"]["training"] | m.get("training", {}))["network"] for m in models(config).values()}
    assert networks == {"efficientnet-b0", "resnet-50", "densenet-121"}


def models(config):
    return config["expression"]["models"]


def test_no_section_is_of_two_donors_and_both_protocols_run_on_both_tissues(config):
    spots = config["expression"]["spots"]
    assert {(entry["protocol"], spots[entry["samples"][0]]["tissue"]) for entry in models(config).values()} == {
        (protocol, tissue) for protocol in ("single_donor", "multi_donor") for tissue in ("Liver", "Breast")
    }
    assert {name for entry in models(config).values() for name in entry["samples"]} == set(spots)


def test_sections_are_those_of_hest(config):
    folder = Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared"))
    table = folder / "data" / "hest_metadata_v1_1_0" / "HEST_v1_1_0.csv"
    if not table.is_file():
        pytest.skip(f"{table} is not there (STNUCLEI_SHARED)")
    hest = pd.read_csv(table).set_index("id")
    hest = hest[hest["species"].str.contains("Homo")]
    liver = hest[(hest["organ"] == "Liver") & hest["st_technology"].str.contains("Visium")]
    breast = hest[(hest["organ"] == "Breast") & (hest["st_technology"] == "Spatial Transcriptomics")]
    breast = breast[breast["patient"].notna()]
    spots = pd.DataFrame.from_dict(config["expression"]["spots"], orient="index")
    assert set(spots.index[spots["tissue"] == "Liver"]) == set(liver.index) and len(liver) == 14
    assert set(spots.index[spots["tissue"] == "Breast"]) == set(breast.index)
    known = hest.loc[spots.index].assign(donor=spots["donor"])
    named = known[known["patient"].notna()]
    assert named.groupby("donor")[["dataset_title", "patient"]].nunique().eq(1).all(axis=None)
    assert len(named.groupby(["dataset_title", "patient"])) == named["donor"].nunique()


def test_the_whole_run_is_planned_without_the_data(tmp_path):
    for name in ("config.yaml", "samples.tsv"):
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / name).write_text((ROOT / "config" / name).read_text())
    (tmp_path / "config" / "expression_paper").symlink_to(CONFIG.parent)
    command = ("expression", "--cores", "2", "--configfile", "config/expression_paper/config.yaml")
    text = Workflow(tmp_path).run(*command, "-n", "--quiet", "rules").text
    assert count(text, "cut_spots") == 118 and count(text, "train_expression") == 9 * 4
    assert count(text, "fetch_weights") == 3 and count(text, "score_expression") == 9
    refused = Workflow(tmp_path).refusal(*command)
    assert "expression.spots.NCBI672: hest_data/st/NCBI672.h5ad is not there" in refused

"""The paper's split, found in HEST-1k's table."""

import pandas as pd
import pytest
import yaml

from paths import ROOT
from stnuclei.config.samples import read_samples
from stnuclei.errors import UserError
from stnuclei.evaluation.tables import published_row
from stnuclei.io.hest_samples_table import paper_samples


@pytest.fixture
def metadata(shared):
    return shared / "data" / "hest_metadata_v1_1_0" / "HEST_v1_1_0.csv"


def test_slides_and_organs_are_those_of_table_1_and_of_the_shipped_table(metadata):
    table = paper_samples(metadata, "hest_data")
    organs = pd.read_csv(metadata).set_index("id")["organ"]
    for split, row in (("train", "HEST-1k train"), ("seg_eval", "Seg.-Eval")):
        part = table[table["split"] == split]
        paper = published_row("table1", row)[1]
        assert (len(part), organs.loc[part["sample"]].nunique()) == (paper["slides"], paper["tissues"]), split
    annotated = table[table["split"] == "cls_eval"]
    assert (len(annotated), list(annotated["tissue"])) == (
        published_row("table1", "Cls.-Eval")[1]["slides"],
        ["Breast"],
    )
    assert not set(table[table["split"] == "train"]["tissue"]) & set(table[table["split"] == "seg_eval"]["tissue"])
    config = yaml.safe_load((ROOT / "config" / "paper" / "config.yaml").read_text())
    shipped = read_samples(
        ROOT / "config" / "paper" / "samples.tsv", (), config["evaluation"]["allow_shared_donors"]
    ).reset_index(drop=True)
    pd.testing.assert_frame_equal(shipped, table, check_dtype=False)


def test_the_annotated_slide_shares_its_donor_with_training_slides():
    """NCBI785 is the very section that 10x annotated; without the explicit permission the table is refused."""
    with pytest.raises(UserError, match=r"NCBI784, NCBI785, breast_rep1, column donor: .*patient4"):
        read_samples(ROOT / "config" / "paper" / "samples.tsv")


def test_a_foreign_table_is_refused(metadata, tmp_path):
    table = pd.read_csv(metadata)
    table.drop(columns="dataset_title").to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(UserError, match="column dataset_title is missing"):
        paper_samples(tmp_path / "short.csv", "x")
    table.replace({"organ": {"Heart": "Spleen"}}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UserError, match="organ Spleen"):
        paper_samples(tmp_path / "other.csv", "x")

"""The paper's split, found in HEST-1k's table."""

import pandas as pd
import pytest

from paths import ROOT
from stnuclei.config.hest_table import paper_samples
from stnuclei.config.samples import read_samples
from stnuclei.errors import UserError


@pytest.fixture
def metadata(shared):
    return pd.read_csv(shared / "data" / "hest_metadata_v1_1_0" / "HEST_v1_1_0.csv")


def test_slides_and_organs_are_those_of_table_1(metadata):
    table = paper_samples(metadata, "hest_data")
    train, held_out = (table[table["split"] == split] for split in ("train", "seg_eval"))
    assert (len(train), train["tissue"].nunique()) == (51, 9)
    assert len(held_out) == 8
    organs = metadata.set_index("id").loc[held_out["sample"], "organ"]
    assert organs.nunique() == 4
    assert not set(train["tissue"]) & set(held_out["tissue"])


def test_the_shipped_table_is_what_the_command_writes(metadata):
    shipped = read_samples(ROOT / "config" / "paper" / "samples.tsv")
    shipped = shipped[shipped["platform"] == "hest"].reset_index(drop=True)
    pd.testing.assert_frame_equal(shipped, paper_samples(metadata, "hest_data"), check_dtype=False)


def test_a_foreign_table_is_refused(metadata):
    with pytest.raises(UserError, match="column organ is missing"):
        paper_samples(metadata.drop(columns="organ"), "x")
    with pytest.raises(UserError, match="organ Spleen"):
        paper_samples(metadata.replace({"organ": {"Heart": "Spleen"}}), "x")

"""Broken inputs: each ends in one sentence that names the sample and the file, none in a traceback, none in silence."""

import shutil

import broken_hest  # noqa: F401 it registers its ways
import broken_slides  # noqa: F401
import broken_tables  # noqa: F401
import pytest
from breakage import HEST, XENIUM

from stnuclei.errors import UserError
from stnuclei.io import read_sample, write_sample


def refused(platform, folder, file, says, tmp_path):
    with pytest.raises(UserError, match=says) as caught:
        sample = read_sample(platform, folder, sample="s7", checksums=False)
        write_sample(sample, tmp_path / "sample.zarr")  # damaged pixels show when they are read
    sentence = str(caught.value)
    assert "s7" in sentence and file in sentence, sentence
    assert "\n" not in sentence and len(sentence) < 700 and "Traceback" not in sentence
    assert not (tmp_path / "sample.zarr").exists()


@pytest.mark.parametrize("name", XENIUM)
def test_broken_bundle(good_bundle, tmp_path, name):
    change, file, says = XENIUM[name]
    folder = tmp_path / "run"
    shutil.copytree(good_bundle, folder)
    change(folder)
    refused("xenium", folder, file, says, tmp_path)


@pytest.mark.parametrize("name", HEST)
def test_broken_hest_sample(good_hest, tmp_path, name):
    change, file, says = HEST[name]
    folder = tmp_path / "hest"
    shutil.copytree(good_hest, folder)
    change(folder)
    refused("hest", folder, file, says, tmp_path)


def test_there_are_enough_of_them():
    assert len(XENIUM) + len(HEST) >= 60


@pytest.mark.parametrize(
    ("platform", "options", "says"),
    [
        ("visium", {}, "platform 'visium' is none of xenium, hest, spatialdata, cosmx, merscope, visium_hd"),
        ("xenium", {"he_image": "nowhere.tif"}, "nowhere.tif: no such H&E image"),
        ("xenium", {"he_alignment": "nowhere.csv"}, "nowhere.csv: no such alignment file"),
        ("xenium", {"he_alignment": "identity"}, "0.2125 by alignment identity"),
        ("xenium", {"he_um_per_px": 0.9}, "he_um_per_px: 0.9 is near none"),
        ("xenium", {"id": "TENX1"}, "option id belongs to platform hest"),
        ("hest", {"he_alignment": "identity"}, "leave he_alignment empty"),
        ("hest", {"id": "TENX2"}, "id TENX2 is not in it"),
    ],
)
def test_wrong_settings(good_bundle, good_hest, platform, options, says):
    folder = good_hest if platform == "hest" else good_bundle
    with pytest.raises(UserError, match=f"^sample s7: .*{says}"):
        read_sample(platform, folder, sample="s7", checksums=False, **options)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="^sample s7: .*none: no such folder"):
        read_sample("xenium", tmp_path / "none", sample="s7")

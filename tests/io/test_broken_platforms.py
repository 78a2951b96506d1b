"""Damage of a run of any platform is told in a sentence: the sample, the file or element, and what to do."""

import shutil

import bundle
import hest_bundle
import pytest
from platforms import make_cosmx, make_merscope, make_visium_hd

from stnuclei.config.samples import PLATFORMS
from stnuclei.errors import UserError
from stnuclei.io import read_sample, write_sample


def make_store(folder):
    """A SpatialData store."""
    run = make_merscope(folder / "run")
    write_sample(read_sample("merscope", run, sample="m", checksums=False), folder / "s.zarr")
    return folder / "s.zarr"


MAKE = {
    "xenium": lambda folder: bundle.make_bundle(folder / "run"),
    "hest": lambda folder: hest_bundle.make_hest(folder / "hest"),
    "spatialdata": make_store,
    "cosmx": lambda folder: make_cosmx(folder / "run")[0],
    "merscope": lambda folder: make_merscope(folder),
    "visium_hd": lambda folder: make_visium_hd(folder / "run"),
}
#: Platform -> files of outlines, counts and H&E, and what the message calls each.
FILES = {
    "xenium": {
        "nucleus_boundaries.parquet": "nucleus_boundaries",
        "cell_feature_matrix.h5": "cell_feature_matrix",
        "*he_image*": "he_image",
    },
    "hest": {"xenium_seg/*nucleus*": "nucleus_seg", "transcripts/*": "transcripts", "wsis/*": "wsis"},
    "spatialdata": {
        "shapes/nucleus_boundaries/shapes.parquet": "nucleus_boundaries",
        "tables/table/zarr.json": "table",
        "images/he_image/zarr.json": "he_image",
    },
    "cosmx": {"CellLabels/*": "CellLabels", "*exprMat*": "exprMat", "he_image.tif": "he_image"},
    "merscope": {
        "cell_boundaries.parquet": "cell_boundaries",
        "cell_by_gene.csv": "cell_by_gene",
        "he_image.tif": "he_image",
    },
    "visium_hd": {
        "segmented_outputs/nucleus*": "nucleus_segmentations",
        "segmented_outputs/*.h5": "cell_matrix",
        "microscope_image/*": "slide",
    },
}
REMEDIES = "copy|export|write|give|read|download|name|save"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Folders as they should be, by platform, each made when it is asked for."""
    made = {}

    def of(platform):
        if platform not in made:
            made[platform] = MAKE[platform](tmp_path_factory.mktemp(platform))
        return made[platform]

    return of


def test_every_platform_is_broken_here():
    assert list(MAKE) == list(FILES) == list(PLATFORMS)


@pytest.mark.parametrize("damage", ["garbage", "empty"])
@pytest.mark.parametrize(("platform", "pattern"), [(name, glob) for name, globs in FILES.items() for glob in globs])
def test_damage_is_told_with_sample_element_and_remedy(good, tmp_path, platform, pattern, damage):
    folder = tmp_path / "damaged"
    shutil.copytree(good(platform), folder)
    (path, *_) = sorted(folder.glob(pattern))
    path.write_bytes(b"\x00\xffno file of any kind \x81" * 9 if damage == "garbage" else b"")
    with pytest.raises(UserError) as told:
        read_sample(platform, folder, sample="s7", **({"he_um_per_px": 0.25} if platform == "spatialdata" else {}))
    message = str(told.value)
    assert message.startswith("sample s7: ") and "\n" not in message and len(message) < 600
    assert FILES[platform][pattern] in message.replace(str(tmp_path), "")
    assert any(word in message.rpartition(";")[2] for word in REMEDIES.split("|"))

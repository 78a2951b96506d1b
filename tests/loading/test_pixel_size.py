"""Patches of one collection have pixels of one size."""

import json

import pytest

from stnuclei.errors import UserError
from stnuclei.loading.collection import Collection
from stnuclei.taxonomy import Taxonomy

PANNUKE = Taxonomy.load("pannuke")


@pytest.fixture
def of_size(source_of):
    """Give a source whose patches have a pixel size."""

    def make(name, um):
        source = source_of(name, 4)
        path = source.patches / "zarr.json"
        content = json.loads(path.read_text())
        content["attributes"]["um_per_px"] = um
        path.write_text(json.dumps(content))
        return source

    return make


def test_slides_that_were_not_resampled_go_together(of_size):
    data = Collection.open([of_size("a", 0.25), of_size("b", 0.2512)], PANNUKE)
    assert data.um_per_px == 0.25


def test_patches_of_two_magnifications_are_refused(of_size):
    a, b = of_size("a", 0.25), of_size("b", 0.5)
    with pytest.raises(UserError, match=r"b/patches.zarr has patches of 0.5 um/px and others have 0.25"):
        Collection.open([a, b], PANNUKE)
    with pytest.raises(UserError, match="has patches of 0.5 um/px"):
        Collection.open([b], PANNUKE, um_per_px=0.25)

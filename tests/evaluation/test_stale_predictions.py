"""Predictions of patches that were cut again since are refused, though sample and number of patches are the same."""

import json

import pytest

from evaluation.test_real_stores import stores  # noqa: F401
from stnuclei.errors import UserError
from stnuclei.evaluation.stores import open_pair
from stnuclei.patches import PatchStore


def stating(folder, **attributes):
    content = json.loads((folder / "zarr.json").read_text())
    content["attributes"] |= attributes
    (folder / "zarr.json").write_text(json.dumps(content))


def test_predictions_are_held_to_the_patches_they_were_made_of(stores):  # noqa: F811
    patches, predictions, _ = stores
    open_pair(patches, predictions)  # says nothing: an older version wrote it
    stating(predictions, patches_sha256=PatchStore(patches).content_hash)
    open_pair(patches, predictions)
    stating(predictions, patches_sha256="0" * 64)
    with pytest.raises(UserError, match="was cut again since the predictions were made"):
        open_pair(patches, predictions)

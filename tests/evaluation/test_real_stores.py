"""The whole way on real nuclei: targets of NuCLS patches, post-processing, prediction store, scores, tables."""

from __future__ import annotations

import numpy as np
import pytest

from real_pixels import PATCHES, read_patch
from stnuclei.cellvit.nuclei import nuclei_table
from stnuclei.cellvit.postprocess import separate_nuclei
from stnuclei.cellvit.targets import make_targets
from stnuclei.evaluation import (
    confusion_table,
    describe_store,
    error_atlas,
    score_classification,
    score_segmentation,
    table2,
    table3,
)
from stnuclei.patches import PatchStore, import_pannuke, patch_classes
from stnuclei.patches.predictions import write_predictions
from stnuclei.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("pannuke")


def write_fold(folder):
    """Real patches as a fold of PanNuke; nuclei of unknown class are left out."""
    names = [*PATCHES["nucls"], *PATCHES["nucls_held_out"]]
    images, masks = np.zeros((len(names), 256, 256, 3)), np.zeros((len(names), 256, 256, 6))
    for k, name in enumerate(names):
        images[k], instances, kinds = read_patch(name)
        for channel, kind in enumerate(TAXONOMY.names):
            masks[k, ..., channel] = np.where(np.isin(instances, np.flatnonzero(kinds == kind)), instances, 0)
    for part, content in (("images", images), ("masks", masks)):
        (folder / "fold_1" / part / "fold1").mkdir(parents=True)
        np.save(folder / "fold_1" / part / "fold1" / f"{part}.npy", content)
    np.save(folder / "fold_1" / "images" / "fold1" / "types.npy", np.full(len(names), "Breast"))
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    patches, labels, out = folder / "patches.zarr", folder / "labels.parquet", folder / "predictions.zarr"
    import_pannuke(write_fold(folder / "nucls"), 1, patches, labels)
    store = PatchStore(patches)
    classes = patch_classes(store, labels, TAXONOMY)

    def perfect_network(i):
        """What the branches would give if they had learnt everything."""
        own = classes[store.offset[i] : store.offset[i + 1]]
        targets = make_targets(store.instances[i][None], own[None])
        instances = separate_nuclei(targets["binary"][0].numpy().astype(bool), targets["hv"][0].numpy())
        return instances, nuclei_table(instances, np.maximum(targets["types"][0].numpy(), 0), TAXONOMY.n_outputs)

    attrs = {"classes": ["Background", *TAXONOMY.names], "sample": store.sample, "um_per_px": 0.25}
    write_predictions(out, map(perfect_network, range(len(store))), len(store), store.patch_px, attrs)
    return patches, out, labels


def test_the_truth_through_the_pipeline_scores_high(stores, tmp_path):
    patches, predictions, labels = stores
    scores = score_segmentation(patches, predictions, labels=labels, threads=2)
    row = table2(scores.assign(model="m", sample="s", policy="official"), bootstrap_n=50).iloc[0]
    # what separation alone loses: specks under 10 px, nuclei that touch along a long side, and in sparse patches
    # whole nuclei, whose slopes are flat beside the steepest of the tile (the plain steps lose the same ones)
    assert row["dice"] > 0.8 and row["bpq"] > 0.75 and row["f1"] > 0.85
    pairs = score_classification(patches, labels, predictions)
    table = table3(pairs.assign(model="m", sample="s", policy="official"), bootstrap_n=50).iloc[0]
    assert table["accuracy"] > 0.97 and table["macro_f1"] > 0.95
    assert confusion_table(pairs).to_numpy().sum() == pairs["count"].sum()
    assert describe_store(patches, "PanNuke", "val")["nuclei"] == PatchStore(patches).offset[-1]
    worst = error_atlas(tmp_path / "atlas.png", patches, predictions, scores, labels, n=2)
    assert len(worst) == 2 and (tmp_path / "atlas.png").stat().st_size > 10_000

"""The workflow from a SpatialData store: the labels and patches of the raw folder it was written from."""

import numpy as np
import pandas as pd
import pytest
import yaml

from runner import Workflow
from stnuclei.patches import PatchStore
from stnuclei.simulate import simulate_sample

pytestmark = pytest.mark.dag

METHOD = "stnuclei"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Labels and patches of a run, read raw and as what spatialdata_io.xenium writes of it."""
    import spatialdata_io

    folder = tmp_path_factory.mktemp("spatialdata")
    simulate_sample(folder / "run", "Colon", 4, layout="xoa3", size_um=(420.0, 400.0), he_um_per_px=0.25)
    spatialdata_io.xenium(folder / "run").write(folder / "run.zarr")
    rows = ["sample\tplatform\tpath\ttissue\tsplit\tdonor\tdisease\tnuclei_element"]
    rows += ["raw\txenium\trun\tColon\ttrain\ta\tcancer\t"]
    rows += ["store\tspatialdata\trun.zarr\tColon\tval\tb\tcancer\tnucleus_boundaries"]
    (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
    sets = {"train": [{"samples": "train", "labels": METHOD}], "validation": [{"samples": "val", "labels": METHOD}]}
    config = {"samples": "samples.tsv", "results": "results", "labels": {"methods": [METHOD]}, "models": {"st": sets}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    Workflow(folder).run("labels", "patches", "--cores", "2", "--configfile", "config.yaml")
    return folder / "results" / "samples"


def test_labels_are_the_same(results):
    raw, store = (pd.read_parquet(results / name / "labels" / f"{METHOD}.parquet") for name in ("raw", "store"))
    assert len(raw) > 500
    pd.testing.assert_frame_equal(raw, store)


def test_patches_are_the_same(results):
    raw, store = (PatchStore(results / name / "patches.zarr") for name in ("raw", "store"))
    assert len(raw) == len(store) > 0
    for name in ("image", "instances", "origin", "cell_index", "nucleus_index", "centroid"):
        assert np.array_equal(getattr(raw, name)[:], getattr(store, name)[:])

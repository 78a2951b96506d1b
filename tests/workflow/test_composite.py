"""The workflow up to patches on the larger composite samples of the shared data: a Xenium run and a HEST-1k sample."""

import numpy as np
import pandas as pd
import pytest
import yaml

from paths import ROOT
from runner import Workflow
from stnuclei.io import open_sample
from stnuclei.patches import PatchStore

pytestmark = pytest.mark.dag


@pytest.fixture(scope="module")
def composite(shared, tmp_path_factory):
    """Run labels and patches once; every test below looks at what they left."""
    folder = tmp_path_factory.mktemp("composite")
    table = (ROOT / "tests" / "configs" / "composite.tsv").read_text()
    table = table.replace("../shared", str(shared)).replace("tests/configs", str(ROOT / "tests" / "configs"))
    (folder / "composite.tsv").write_text(table)
    config = yaml.safe_load((ROOT / "tests" / "configs" / "composite.yaml").read_text())
    config |= {"samples": "composite.tsv", "results": "results"}
    config["pannuke"]["path"] = config["pannuke"]["path"].replace("../shared", str(shared))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    workflow = Workflow(folder)
    workflow.run("labels", "patches", "--cores", "2", "--configfile", "config.yaml")
    return workflow


def test_nuclei_in_are_nuclei_in_patches(composite):
    for name in ("composite_a", "composite_hest"):
        folder = composite.folder / "results" / "samples" / name
        nuclei = open_sample(folder / "sample.zarr").nuclei
        store = PatchStore(folder / "patches.zarr")
        assigned = np.unique(store.nucleus_index)
        print(name, "nuclei in", len(nuclei), "in patches", len(assigned), store.attrs["counts"])
        assert len(assigned) >= 0.99 * len(nuclei)


def test_labels_agree_with_the_shipped_truth(composite, shared):
    truth = pd.read_parquet(shared / "data" / "truth" / "truth_composite_a.parquet").set_index("cell_id")["class"]
    known = truth[truth != "Unknown"]
    floor = {"stnuclei": 0.7, "paper": 0.6}
    for method, least in floor.items():
        labels = pd.read_parquet(composite.folder / "results/samples/composite_a/labels" / f"{method}.parquet")
        accuracy = (labels.set_index("cell_id")["label"].reindex(known.index) == known).mean()
        print(method, "accuracy on composite_a", round(accuracy, 3))
        assert accuracy > least

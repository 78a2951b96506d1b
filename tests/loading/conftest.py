"""Small stores with labels, told apart by their pixels."""

import numpy as np
import pandas as pd
import pytest

from stnuclei.loading.sources import Source
from stnuclei.patches import PatchBlock, write_patches

NAMES = np.array(["Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial", "Unknown"])


def make_source(folder, name, n, tissue="Breast", size=32, labelled=True, seed=0):
    random = np.random.default_rng([seed, n])
    count = random.integers(0, 6, n)
    total = int(count.sum())
    instances = np.zeros((n, size, size), np.uint16)
    for i, k in enumerate(count):
        for j in range(k):
            instances[i, 4 * j : 4 * j + 3, :5] = j + 1
    cells = random.permutation(total).astype(np.int32)
    block = PatchBlock(
        image=random.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
        instances=instances,
        origin=np.zeros((n, 2), np.int32),
        tissue=np.zeros(n, np.uint8),
        count=count,
        cell_index=cells,
        nucleus_index=np.arange(total, dtype=np.int32),
        centroid=np.zeros((total, 2), np.float32),
    )
    path, labels = folder / name / "patches.zarr", folder / name / "labels" / "manual.parquet"
    attrs = {"sample": name, "tissues": [tissue], "um_per_px": 0.25, "n_cells": total}
    write_patches(path, [block], attrs, size=size)
    if labelled:
        labels.parent.mkdir()
        label = NAMES[random.integers(0, 6, total)]
        pd.DataFrame({"cell_id": [f"c{i}" for i in range(total)], "label": label}).to_parquet(labels)
    return Source(path, labels if labelled else None)


@pytest.fixture
def source_of(tmp_path):
    return lambda name, n, **options: make_source(tmp_path, name, n, **options)

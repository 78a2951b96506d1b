"""A patch store whose nuclei can be told apart by colour, a small network, and their tokens."""

import numpy as np
import pandas as pd
import pytest
import torch

from stnuclei.cellvit import build_model, save_checkpoint
from stnuclei.classifiers import extract_tokens
from stnuclei.patches import PatchBlock, write_patches

SIZE, COUNT, CLASSES = 64, 24, ("Neoplastic", "Inflammatory", "Connective")
COLORS = np.array([[150, 40, 160], [40, 40, 120], [200, 120, 150]])


def write_store(folder, name, count=COUNT, seed=0):
    """Patches of four nuclei, each in the colour of its class; the label table beside them."""
    rng = np.random.default_rng(seed)
    image = rng.integers(215, 235, (count, SIZE, SIZE, 3), dtype=np.uint8)
    instances = np.zeros((count, SIZE, SIZE), np.uint16)
    classes = rng.integers(0, 3, (count, 4))
    for i in range(count):
        for k in range(4):
            y, x = 4 + 32 * (k // 2), 4 + 32 * (k % 2)
            box = np.s_[y : y + rng.integers(16, 24), x : x + rng.integers(16, 24)]
            instances[i][box] = k + 1
            image[i][box] = np.clip(COLORS[classes[i, k]] + rng.normal(0, 12, image[i][box].shape), 0, 255)
    total = 4 * count
    cells = rng.permutation(total).astype(np.int32)
    block = PatchBlock(
        image,
        instances,
        np.zeros((count, 2), np.int32),
        np.zeros(count, np.uint8),
        np.full(count, 4, np.int64),
        cells,
        np.arange(total, dtype=np.int32),
        np.zeros((total, 2), np.float32),
    )
    attrs = {"sample": name, "tissues": ["Breast"], "um_per_px": 0.25, "n_cells": total}
    path = folder / name / "patches.zarr"
    write_patches(path, [block], attrs, size=SIZE)
    names = np.empty(total, object)
    names[cells] = np.array(CLASSES, object)[classes.ravel()]
    table = pd.DataFrame({"cell_id": [f"c{i}" for i in range(total)], "label": names})
    table.to_parquet(folder / name / "labels.parquet")
    return path


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("classifiers")


@pytest.fixture(scope="package")
def checkpoint(folder):
    torch.manual_seed(3)
    path = folder / "checkpoint.pt"
    save_checkpoint(path, build_model("cellvit-tiny", 6, 0).eval(), taxonomy="pannuke")
    return path


@pytest.fixture(scope="package")
def stores(folder):
    return [write_store(folder, name, seed=seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="package")
def tokens(folder, checkpoint, stores):
    paths = []
    for store in stores:
        paths.append(store.parent / "tokens.zarr")
        extract_tokens(checkpoint, store, paths[-1], batch_size=5)
    return paths

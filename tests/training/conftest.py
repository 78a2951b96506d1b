"""Small patch stores with labels: discs whose colour is their class."""

import numpy as np
import pandas as pd
import pytest
import torch

from stnuclei.config import TrainSettings
from stnuclei.loading import Source
from stnuclei.patches import PatchBlock, write_patches
from stnuclei.taxonomy import Taxonomy

PX = 32
COLORS = {1: (90, 40, 140), 2: (40, 60, 200), 3: (160, 60, 90), -1: (90, 90, 90)}


def draw(random, px=PX, nuclei=3):
    """One picture with discs: image, instances, class ids."""
    image, instances, classes = np.full((px, px, 3), 230, np.uint8), np.zeros((px, px), np.uint16), []
    y, x = np.mgrid[:px, :px]
    for _ in range(nuclei):
        cy, cx = random.integers(5, px - 5, 2)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 20
        if not (instances[disc] > 0).any():
            classes.append(int(random.choice(list(COLORS))))
            instances[disc], image[disc] = len(classes), COLORS[classes[-1]]
    return image, instances, classes


def write_source(folder, name, n, tissue, seed, px=PX, nuclei=3):
    """A store of n patches with its labels."""
    random = np.random.default_rng(seed)
    drawn = [draw(random, px, nuclei) for _ in range(n)]
    counts = np.array([len(classes) for _, _, classes in drawn])
    total = counts.sum()
    block = PatchBlock(
        image=np.stack([d[0] for d in drawn]),
        instances=np.stack([d[1] for d in drawn]),
        origin=np.zeros((n, 2), np.int32),
        tissue=np.zeros(n, np.uint8),
        count=counts.astype(np.int64),
        cell_index=np.arange(total, dtype=np.int32),
        nucleus_index=np.arange(total, dtype=np.int32),
        centroid=np.zeros((total, 2), np.float32),
    )
    attrs = {"sample": name, "tissues": [tissue], "um_per_px": 0.25, "settings": {}}
    write_patches(folder / f"{name}.zarr", [block], attrs, size=px)
    taxonomy = Taxonomy.load("pannuke")
    labels = [taxonomy.name_of(c) for _, _, classes in drawn for c in classes]
    table = pd.DataFrame({"cell_id": [str(i) for i in range(total)], "label": labels})
    table.assign(confidence=np.float32(1), cluster=np.int32(0)).to_parquet(folder / f"{name}.parquet")
    return Source(folder / f"{name}.zarr", folder / f"{name}.parquet")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Two small sources of different tissues."""
    folder = tmp_path_factory.mktemp("stores")
    return [write_source(folder, "a", 20, "Breast", 0), write_source(folder, "b", 12, "Colon", 1)]


@pytest.fixture
def settings():
    """A short run of the small network."""
    torch.set_num_threads(1)
    return TrainSettings(
        architecture="cellvit-tiny",
        epochs=2,
        batch_size=8,
        learning_rate=1e-3,
        validation_patches=6,
        workers=1,
        threads=1,
        device="cpu",
        tensorboard=False,
    )

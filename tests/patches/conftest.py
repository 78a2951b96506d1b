"""A small slide with nuclei, in the form `stnuclei.io` gives samples."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point

from samples import make_sample, noise


def slide_of_noise(height=700, width=900, um_per_px=0.25, n=60, seed=0, name="fake"):
    random = np.random.default_rng(seed)
    centres = random.uniform((8, 8), (width - 8, height - 8), (n, 2))
    geometry = [Point(x, y).buffer(random.uniform(3, 9)) for x, y in centres]
    cells = [f"c{i}" for i in range(n)]
    order = random.permutation(n)  # table and outlines in different orders
    owner = [None if i % 10 == 0 else cells[i] for i in range(n)]
    table = ad.AnnData(
        np.zeros((n, 2), np.float32),
        obs=pd.DataFrame({"cell_id": np.array(cells)[order]}, index=np.array(cells)[order]),
    )
    return make_sample(name, noise(height, width, random), table, geometry, owner, um_per_px)


@pytest.fixture
def sample():
    return slide_of_noise()


@pytest.fixture(scope="session")
def sample_of():
    return slide_of_noise

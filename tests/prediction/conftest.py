"""A slide of perfect maps, shared by the tests of this folder."""

import numpy as np
import pytest
import tifffile

from prediction.oracle import Scene

UM, WIDTH, HEIGHT = 0.25, 1500, 1900


def write_slide(path, image, um=UM, **options):
    """A lossless tiled TIFF; `um` None: without a pixel size."""
    size = {} if um is None else {"resolution": (1e4 / um, 1e4 / um), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", **size, **options)
    return path


@pytest.fixture(scope="session")
def scene():
    return Scene.random(WIDTH * UM, HEIGHT * UM)


@pytest.fixture(scope="session")
def drawn(scene):
    """Picture and labels at 0.25 um/px."""
    return scene.draw(UM, WIDTH, HEIGHT)


@pytest.fixture(scope="session")
def slide(drawn, tmp_path_factory):
    return write_slide(tmp_path_factory.mktemp("slide") / "slide.tif", drawn[0])


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A slide of 700 x 900 px, for tests of what goes wrong: path, picture, labels."""
    image, labels = Scene.random(175, 225, seed=3).draw(UM, 700, 900)
    return write_slide(tmp_path_factory.mktemp("small") / "small.tif", image), image, labels


def centroids(labels):
    """Mean of the pixels of each label, corner convention, (n, 2)."""
    ids = np.unique(labels)[1:]
    y, x = np.indices(labels.shape)
    size = np.bincount(labels.ravel())[ids]
    return np.stack([np.bincount(labels.ravel(), v.ravel())[ids] / size + 0.5 for v in (x, y)], 1)

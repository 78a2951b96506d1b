"""The composite samples, read once, and ways to move their nuclei."""

import dataclasses

import numpy as np
import pytest

from paths import larger_data
from real_pixels import make_bundle
from stnuclei.io import read_sample
from stnuclei.quality import find_tissue
from stnuclei.quality.refine import transform
from stnuclei.slides import Slide


class PixelSlide(Slide):
    """A slide in memory."""

    def __init__(self, pixels, path):
        self.pixels, self.path, self.levels = pixels, path, (pixels.shape[:2],)
        self.stated_um, self.info = {}, {}

    def _read(self, level, y0, y1, x0, x1):
        return self.pixels[y0:y1, x0:x1]


def with_pixels(sample, pixels):
    return dataclasses.replace(sample, he=PixelSlide(pixels, sample.he.path))


def moved(sample, linear, shift=(0.0, 0.0)):
    """The sample with its nuclei turned about the slide's middle by a matrix, then shifted by (x, y) he_px."""
    middle = np.array(sample.he.shape[1::-1]) / 2
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, middle - np.asarray(linear) @ middle + shift
    return dataclasses.replace(sample, nuclei=transform(sample.nuclei, matrix))


def tissue_of(sample, *settings, **more):
    return find_tissue(sample.he, sample.um_per_px, *settings, name=sample.name, **more)


def turn(degrees):
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.fixture(scope="session")
def tools():
    from types import SimpleNamespace

    return SimpleNamespace(moved=moved, turn=turn, with_pixels=with_pixels, tissue_of=tissue_of)


@pytest.fixture(scope="session")
def hest(real_bundle):
    """A composite HEST-1k sample; in a clone alone, the smaller bundle of real pixels."""
    if folder := larger_data():
        return read_sample("hest", folder / "data" / "composite_hest", sample="hest", checksums=False)
    return read_sample("xenium", real_bundle, sample="hest", checksums=False)


@pytest.fixture(scope="session")
def breast(tmp_path_factory):
    """A composite Xenium run; in a clone alone, the larger bundle of real pixels."""
    if folder := larger_data():
        return read_sample("xenium", folder / "data" / "composite_a", sample="a", checksums=False)
    bundle = tmp_path_factory.mktemp("real_pixels") / "nucls"
    make_bundle(bundle, "nucls")
    return read_sample("xenium", bundle, sample="a", checksums=False)


@pytest.fixture(scope="session")
def hest_tissue(hest):
    return tissue_of(hest)


@pytest.fixture(scope="session")
def breast_tissue(breast):
    return tissue_of(breast)

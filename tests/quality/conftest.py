"""The composite samples, read once."""

import pytest

from paths import larger_data
from quality.changed_samples import tissue_of
from real_pixels import make_bundle
from stnuclei.io import read_sample


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

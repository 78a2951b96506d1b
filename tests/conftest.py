"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

from paths import ROOT
from real_pixels import make_bundle


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real data that development and CI have; tests on it skip where it is absent."""
    path = Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"real data not found at {path}; set STNUCLEI_SHARED")
    return path


@pytest.fixture(scope="session")
def real_bundle(tmp_path_factory) -> Path:
    """Xenium bundle of real H&E pixels and real count profiles: 1,456 nuclei of five patches in eight orientations."""
    folder = tmp_path_factory.mktemp("real_pixels") / "nucls_held_out"
    make_bundle(folder, "nucls_held_out")
    return folder

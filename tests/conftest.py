"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

from paths import ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real data that development and CI have; tests on it skip where it is absent."""
    path = Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"real data not found at {path}; set STNUCLEI_SHARED")
    return path

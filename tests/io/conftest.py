"""One bundle and one HEST-1k sample for the whole folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import bundle  # noqa: E402
import hest_bundle  # noqa: E402


@pytest.fixture(scope="session")
def good_bundle(tmp_path_factory):
    return bundle.make_bundle(tmp_path_factory.mktemp("good") / "run")


@pytest.fixture(scope="session")
def good_hest(tmp_path_factory):
    return hest_bundle.make_hest(tmp_path_factory.mktemp("good") / "hest")

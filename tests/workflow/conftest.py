"""A working folder with the shipped configuration."""

import pytest

from paths import ROOT
from runner import Workflow


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    """Give an empty working folder with the shipped configuration."""
    (tmp_path / "config").mkdir()
    for name in ("config.yaml", "samples.tsv"):
        (tmp_path / "config" / name).write_text((ROOT / "config" / name).read_text())
    return Workflow(tmp_path)

"""The drill on two stages, in short; `make test-faults` runs all of it."""

import pytest

from faults.drill import drill
from faults.stages import STAGES


@pytest.mark.parametrize("stage", ["patches.zarr", "expression table"])
def test_whatever_breaks_the_restart_is_right(stage, tmp_path):
    rows = drill([stage], tmp_path, quick=True)
    assert len(rows) == 5 and not [row for row in rows if row.wrong]
    killed = rows[0].outcome.split(" x ")
    assert int(killed[0]) >= 2 and killed[1] == "restart gives the same content"


def test_stages_are_known_to_the_page():
    from paths import ROOT

    page = (ROOT / "docs" / "reliability.md").read_text()
    for stage in STAGES:
        assert f"| {stage} |" in page, stage

"""Shipped constants of `stnuclei` are those that the benchmark chose over all labelled sets."""

from importlib import import_module
from pathlib import Path

import pytest

from stnuclei.config.labels import EvidenceSettings

TABLE = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "label_methods.md"


def _chosen_over_all() -> dict[str, float]:
    """Constants of the row "none" (no unit left out) of the table of chosen constants."""
    lines = TABLE.read_text().split("## Constants of `stnuclei`")[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return dict(zip(rows[0][1:], map(float, next(row for row in rows if row[0] == "none")[1:]), strict=True))


@pytest.mark.parametrize(("name", "value"), _chosen_over_all().items())
def test_shipped_constants_are_those_the_benchmark_chose(name, value):
    if "." in name:
        module, constant = name.split(".")
        shipped = getattr(import_module(f"stnuclei.labels.evidence.{module}"), constant)
    else:
        shipped = getattr(EvidenceSettings(), name)
    assert shipped == value

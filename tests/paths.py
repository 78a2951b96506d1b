"""Where the checkout and the data it ships with are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Real files whose terms allow to ship them (tests/data/README.md).
DATA = ROOT / "tests" / "data"

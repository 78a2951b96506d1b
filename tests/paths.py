"""Where the checkout and the data it ships with are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
#: Real files whose terms allow to ship them (tests/data/README.md).
DATA = ROOT / "tests" / "data"


def larger_data() -> Path | None:
    """Folder of the larger real sets that development and CI have; None where it is absent."""
    path = Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared"))
    return path if (path / "data").is_dir() else None

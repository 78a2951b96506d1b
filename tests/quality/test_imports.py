"""What a job of pixels alone does not import: a second of CPU for each of the libraries of tables and shapes."""

import subprocess
import sys

from paths import ROOT

HEAVY = ("anndata", "geopandas", "spatialdata", "torch", "sklearn")


def test_tissue_and_regions_are_found_and_drawn_without_libraries_of_tables():
    code = (
        "import sys\n"
        "from stnuclei.io.open_image import open_image\n"
        "from stnuclei.quality import TissueMap, draw_regions, draw_tissue, find_tissue\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    environment = {"PYTHONPATH": str(ROOT / "workflow" / "scripts"), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"

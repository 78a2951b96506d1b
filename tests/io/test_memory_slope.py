"""Memory does not grow with the nuclei: it is that of some row groups, however many there are."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from stnuclei.io.boundaries import SCHEMA

#: Small row groups, so that 160,000 nuclei are many of them: as polygons they take 160 MB.
ROWS, GROUPS, MOST_MB = 8192, 20, 80

CHILD = """
import sys
from pathlib import Path
import geopandas  # what is imported late is no growth
import numpy as np
from stnuclei.io import boundaries
from stnuclei.patches.bands import NucleusBands

def peak():  # of this program alone: what getrusage tells begins with the memory of the process that started it
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

boundaries.ROW_GROUP = int(sys.argv[3])
nuclei = boundaries.NucleusBoundaries.of_file(Path(sys.argv[1]))
before = peak()
assert len(nuclei.measures.area) == len(nuclei)
measured = peak()
bands = NucleusBands(np.stack([np.arange(20), np.arange(1, 21)], axis=1) * 2000, Path(sys.argv[2]))
assert sum(len(boxes) for _, boxes in bands.deal(nuclei, np.eye(3), np.zeros(len(nuclei), np.int32))) == len(nuclei)
assert sum(len(bands.read(band).row) for band in range(20)) >= len(nuclei)
print(measured - before, peak() - before)
"""


@pytest.fixture
def path(tmp_path):
    random = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 13)
    ring = 12 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    with pq.ParquetWriter(tmp_path / "shapes.parquet", SCHEMA) as file:
        for _ in range(GROUPS):
            outlines = shapely.polygons(random.uniform(20, 39_980, (ROWS, 1, 2)) + ring)
            wkb = pa.array(shapely.to_wkb(outlines), pa.binary())
            file.write_table(pa.table([pa.nulls(ROWS, pa.string()), wkb], schema=SCHEMA))
    return tmp_path / "shapes.parquet"


def test_many_nuclei_take_the_memory_of_some_row_groups(path, tmp_path):
    (tmp_path / "bands").mkdir()
    command = [sys.executable, "-c", CHILD, str(path), str(tmp_path / "bands"), str(ROWS)]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(grown)
    assert max(map(float, grown.split())) < MOST_MB

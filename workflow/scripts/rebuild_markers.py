"""Rebuild the marker tables from PanglaoDB, CellMarker and CancerSEA."""

from pathlib import Path

from stnuclei.files import atomic_write
from stnuclei.joblog import job
from stnuclei.markers.build import build_markers
from stnuclei.resources import resource

with job(snakemake.log[0], "marker tables"):
    originals = {name: path for name, path in snakemake.params.originals.items() if path}
    with atomic_write(Path(snakemake.output.tables), directory=True) as aside:
        for name, rows in build_markers(aside, resource("markers"), originals).items():
            print(f"{name}: {rows:,} rows")

"""Check and draw whether the nuclei of a Xenium run lie on the nuclei of its H&E.

  stnuclei draw-alignment xenium_run/ --out alignment.png
  stnuclei draw-alignment xenium_run/ --he-image he.ome.tif --he-alignment alignment.csv --out alignment.png
  stnuclei draw-alignment xenium_run/ --refine orientation --out repaired.png --repaired alignment.csv

The last draws the nuclei where a correction would bring them and writes the corrected alignment; nothing that exists
is changed. Prints the finding in a sentence and ends with status 1 where they do not.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from stnuclei import io, quality
from stnuclei.cli.options import positive, seed
from stnuclei.disk import check_output
from stnuclei.errors import UserError
from stnuclei.files import atomic_write

REFINEMENTS = ("none", "translation", "affine", "orientation")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("input", type=Path, help="Xenium output folder, or sample.zarr of the workflow")
    add("--he-image", type=Path, help="H&E slide (default: the one in or beside the folder)")
    add("--he-alignment", help="alignment file, or the word identity (default: the one in or beside the folder)")
    add("--refine", choices=REFINEMENTS, default="none", help="correction to draw; orientation: turn, mirror, inverse")
    add("--repaired", type=Path, help="corrected alignment to write, .csv; a file that exists is never overwritten")
    add("--out", type=Path, required=True, help="picture to write, .png")
    add("--json", type=Path, help="numbers to write, .json")
    add("--max-shift-um", type=positive, default=2.0, help="largest shift that passes, um (2)")
    add("--seed", type=seed, default=0, help="of the draw of tiles (0)")


def run(options: argparse.Namespace) -> int:
    """Check, draw and write; 1 where the nuclei do not fit."""
    if options.repaired and options.repaired.exists():
        raise UserError(f"{options.repaired}: exists; give --repaired a new file, nothing is overwritten")
    for path in filter(None, (options.out, options.json, options.repaired)):
        check_output(path.parent)
    if (options.input / "zarr.json").is_file():
        sample = io.open_sample(options.input)
    else:
        sample = io.read_sample("xenium", options.input, options.he_image, options.he_alignment, checksums=False)
    tissue = quality.find_tissue(sample.he, sample.um_per_px, name=sample.name)
    measured = options.refine if options.refine != "orientation" else "none"
    report = quality.check_alignment(
        sample, tissue, max_shift_um=options.max_shift_um, refine=measured, seed=options.seed
    )
    if options.refine == "orientation":
        report = oriented(report)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    quality.draw_alignment(report, sample, tissue, options.out)
    if options.json:
        report.save_json(options.json)
    if options.repaired:
        write_repaired(sample, report, options.repaired)
    print(report.message)
    return 0 if report.passed else 1


def oriented(report: quality.AlignmentReport) -> quality.AlignmentReport:
    """The finding with the turn, mirror or inverse that was found as its correction."""
    found = report.details.get("orientation") or {}
    if not found.get("fits"):
        raise UserError(f"{report.message}; there is no turn, mirror or inverse to draw")
    return replace(report, correction=np.array(found["matrix"]))


def write_repaired(sample: io.Sample, report: quality.AlignmentReport, path: Path) -> None:
    """Write the alignment after the correction, as a 3x3 matrix, H&E px to morphology px."""
    if sample.he_to_morphology is None:
        raise UserError(f"sample {sample.name}: has no alignment file that could be corrected")
    # A nucleus that belongs at correction @ he lies there if the corrected matrix takes that to the same morphology px.
    matrix = np.asarray(sample.he_to_morphology) @ np.linalg.inv(report.correction)
    with atomic_write(path) as temporary:
        np.savetxt(temporary, matrix, delimiter=",", fmt="%.12g")

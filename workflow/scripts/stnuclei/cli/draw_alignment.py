"""Check and draw whether the nuclei of a Xenium run lie on the nuclei of its H&E.

  stnuclei draw-alignment xenium_run/ --out alignment.png
  stnuclei draw-alignment xenium_run/ --he-image he.ome.tif --he-alignment alignment.csv --out alignment.png

Prints the finding in a sentence and ends with status 1 where they do not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stnuclei import io, quality


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("input", type=Path, help="Xenium output folder, or sample.zarr of the workflow")
    add("--he-image", type=Path, help="H&E slide (default: the one in or beside the folder)")
    add("--he-alignment", help="alignment file, or the word identity (default: the one in or beside the folder)")
    add("--out", type=Path, required=True, help="picture to write, .png")
    add("--json", type=Path, help="numbers to write, .json")
    add("--max-shift-um", type=float, default=2.0, help="largest shift that passes, um (2)")
    add("--seed", type=int, default=0, help="of the draw of tiles (0)")


def run(options: argparse.Namespace) -> int:
    """Check, draw and write; 1 where the nuclei do not fit."""
    if (options.input / "zarr.json").is_file():
        sample = io.open_sample(options.input)
    else:
        sample = io.read_sample("xenium", options.input, options.he_image, options.he_alignment, checksums=False)
    tissue = quality.find_tissue(sample.he, sample.um_per_px, name=sample.name)
    report = quality.check_alignment(sample, tissue, max_shift_um=options.max_shift_um, seed=options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    quality.draw_alignment(report, sample, tissue, options.out)
    if options.json:
        report.save_json(options.json)
    print(report.message)
    return 0 if report.passed else 1

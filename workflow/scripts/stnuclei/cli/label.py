"""Label the cells of a Xenium run from their gene expression; no H&E is needed.

  stnuclei label xenium_run/ --tissue Breast --out labels/
  stnuclei label counts.h5ad --tissue Colon --method paper --out labels/

The folder it writes holds labels.parquet (cell_id, label, confidence, cluster, alternatives), evidence.tsv (the reason
for the label of each cluster), labels.png and xenium_explorer.csv (groups for Xenium Explorer).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stnuclei import io, labels
from stnuclei.cli.options import count, seed
from stnuclei.config.labels import METHODS
from stnuclei.config.samples import DISEASES
from stnuclei.disk import check_output
from stnuclei.errors import UserError
from stnuclei.io.h5ad import read_h5ad

if TYPE_CHECKING:
    from anndata import AnnData

#: `own` takes labels from another program and needs a file that only the samples table names.
_METHODS = tuple(name for name in METHODS if name != "own")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("input", type=Path, help="Xenium output folder, sample.zarr of the workflow, or h5ad with raw counts")
    add("--tissue", required=True, help="organ, for its marker genes: Breast, Colon, Kidney, ...")
    add("--out", type=Path, required=True, help="folder to write")
    add("--method", choices=_METHODS, default="stnuclei", help="label method (stnuclei)")
    add("--disease", choices=DISEASES, help="disease of the section; not given: malignancy from expression alone")
    add("--taxonomy", default="pannuke", help="name or YAML file of the classes (pannuke)")
    add("--markers", type=Path, help="folder of marker tables (the shipped ones)")
    add("--seed", type=seed, default=0, help="of clustering and null models (0)")
    add("--threads", type=count, default=os.cpu_count() or 1, help="threads (all)")


def run(options: argparse.Namespace) -> int:
    """Label; print the number of cells by class."""
    check_output(options.out)
    table = read_counts(options.input)
    names = ("tissue", "disease", "taxonomy", "markers", "seed", "threads")
    made = labels.label_cells(table, options.method, **{name: getattr(options, name) for name in names})
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    made.save(out / "labels.parquet", out / "evidence.tsv")
    labels.write_explorer_groups(made.cells, out / "xenium_explorer.csv")
    if "spatial" in table.obsm:
        labels.draw_labels(table, made, out / "labels.png", taxonomy=options.taxonomy)
    print(made.info["counts"])
    print(f"labels, evidence and picture: {out}")
    return 0


def read_counts(path: Path) -> AnnData:
    """Counts of a sample, without its slide.

    Raises
    ------
    UserError
        If the path is neither a Xenium folder, nor a store of the workflow, nor an h5ad file that can be read.
    """
    if (path / "experiment.xenium").is_file():
        return io.read_cell_table(path)
    if path.is_dir():
        return io.open_sample(path).table
    if path.suffix != ".h5ad" or not path.is_file():
        raise UserError(f"{path}: is neither a Xenium output folder, nor a sample.zarr, nor an h5ad file")
    return read_h5ad(path)

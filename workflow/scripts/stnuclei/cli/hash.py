"""Hash the content of files and stores, whatever their encoding: each array of a store, each column of a table.

stnuclei hash results/samples/a/patches.zarr
"""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="+", help="files or stores")


def run(options: argparse.Namespace) -> int:
    """Print a hash a line."""
    from stnuclei.provenance.content import content_hashes, total  # heavy, and not needed for --help

    for path in options.paths:
        hashes = content_hashes(path)
        for name, value in hashes.items():
            print(f"{value}  {path}" + (f"/{name}" if name else ""))
        if len(hashes) > 1:
            print(f"{total(hashes)}  {path}  (all {len(hashes)} parts)")
    return 0

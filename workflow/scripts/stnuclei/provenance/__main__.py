"""Compare two runs, or hash the content of files and stores.

``python -m stnuclei.provenance diff a/provenance.json b/provenance.json`` names what differs and ends with status 1;
``python -m stnuclei.provenance hash results/samples/a/patches.zarr`` prints the hash of each array.
"""

from __future__ import annotations

import argparse
import sys

from stnuclei.errors import UserError
from stnuclei.provenance.compare import differences, read
from stnuclei.provenance.content import content_hashes, total


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 the same or hashed, 1 something differs, 2 a mistake."""
    parser = argparse.ArgumentParser(prog="python -m stnuclei.provenance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    diff = commands.add_parser("diff", help="name what differs between two runs")
    diff.add_argument("one", help="provenance.json, or the results folder that holds it")
    diff.add_argument("other")
    hashed = commands.add_parser("hash", help="hash what files and stores hold, whatever their encoding")
    hashed.add_argument("paths", nargs="+")
    told = parser.parse_args(arguments)
    try:
        return _diff(told.one, told.other) if told.command == "diff" else _hash(told.paths)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _diff(one: str, other: str) -> int:
    lines = differences(read(one), read(other))
    print("\n".join(lines) if lines else "the same code, versions, settings, inputs, labels, patches and models")
    return 1 if lines else 0


def _hash(paths: list[str]) -> int:
    for path in paths:
        parts = content_hashes(path)
        for name, value in parts.items():
            print(f"{value}  {path}" + (f"/{name}" if name else ""))
        if len(parts) > 1:
            print(f"{total(parts)}  {path}  (all {len(parts)} parts)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

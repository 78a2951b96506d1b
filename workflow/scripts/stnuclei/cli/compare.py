"""Name what differs between two runs of the workflow: code, versions, settings, inputs, labels, patches, models.

  stnuclei compare results/ other/results/

Ends with status 1 where something differs.
"""

from __future__ import annotations

import argparse

from stnuclei.provenance.compare import differences, read


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("first", help="provenance.json, or the results folder that holds it")
    parser.add_argument("second", help="the same of the other run")


def run(options: argparse.Namespace) -> int:
    """Print the differences; 1 where there are any."""
    lines = differences(read(options.first), read(options.second))
    print("\n".join(lines) if lines else "the same code, versions, settings, inputs, labels, patches and models")
    return 1 if lines else 0

"""Train a CellViT on patch stores and label tables that a JSON or YAML file names.

  stnuclei train run.yaml
  stnuclei train run.yaml --processes 4
  torchrun --nproc-per-node 4 -m stnuclei train run.yaml

The file has the keys sources and validation (lists of {patches, labels}), out_dir, settings, taxonomy and provenance;
docs/training.md shows one. A stopped training continues when it is started again; it ends with status 75.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stnuclei.cli.options import count


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, help="JSON or YAML file of the run")
    parser.add_argument("--processes", type=count, default=1, help="processes on this machine, a GPU each (1)")


def run(options: argparse.Namespace) -> int:
    """Train; 75 when asked to stop, with the state saved."""
    from stnuclei.training.failures import TrainingStopped  # heavy, and not needed for --help
    from stnuclei.training.launch import launch

    try:
        launch(options.run, options.processes)
    except TrainingStopped as stopped:
        return int(str(stopped.code))
    return 0

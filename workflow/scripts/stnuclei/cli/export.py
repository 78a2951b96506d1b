"""Write a checkpoint for another program.

  stnuclei export checkpoint.pt --out model.onnx
  stnuclei export checkpoint.pt --out model.pth --format official

onnx: the network, normalised pictures in, logits out. official: exactly the entries of CellViT's released files.
pt2: a program of torch.export that takes pixels and needs no stnuclei.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stnuclei import cellvit
from stnuclei.cli.options import count
from stnuclei.disk import check_output


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("checkpoint", type=Path, help="checkpoint of stnuclei or of CellViT")
    add("--out", type=Path, required=True, help="file to write")
    add("--format", choices=("onnx", "official", "pt2"), default="onnx", help="(onnx)")
    add("--size", type=count, default=256, help="side of the pictures of pt2 and of SAM encoders, px (256)")


def run(options: argparse.Namespace) -> int:
    """Write the file."""
    check_output(options.out.parent)
    metadata = cellvit.export_model(options.checkpoint, options.out, options.format, options.size)
    print(f"{options.out}: {metadata['architecture']} as {options.format}")
    return 0

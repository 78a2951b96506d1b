"""``python -m stnuclei.prediction --checkpoint model.pt --patches patches.zarr --out predictions.zarr``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stnuclei.errors import UserError
from stnuclei.prediction.patches import predict_patches


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m stnuclei.prediction", description="Predict the nuclei of all patches of a store."
    )
    options.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of stnuclei or of CellViT")
    options.add_argument("--patches", type=Path, required=True, help="patches.zarr")
    options.add_argument("--out", type=Path, required=True, help="predictions.zarr to write")
    options.add_argument("--batch-size", type=int, default=64, help="patches at once (64)")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda (auto)")
    options.add_argument("--precision", default="auto", help="auto, bf16, fp16, fp32 (auto)")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads (all)")
    options.add_argument("--compile", action="store_true", help="use torch.compile")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 1 and one sentence on a user's mistake."""
    options = vars(parser().parse_args(arguments))
    try:
        counts = predict_patches(options.pop("checkpoint"), options.pop("patches"), options.pop("out"), **options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{counts['nuclei']:,} nuclei in {counts['patches']:,} patches, {counts['patches_per_second']:,} patches/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

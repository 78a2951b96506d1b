"""Find and classify the nuclei of a slide, of pictures or of a patch store with a trained model.

  stnuclei segment slide.svs --checkpoint checkpoint.pt --out slide_nuclei
  stnuclei segment pictures/ --checkpoint checkpoint.pt --out nuclei --um-per-px 0.25
  stnuclei segment patches.zarr --checkpoint checkpoint.pt --out predictions.zarr
  stnuclei segment slide.svs --checkpoint checkpoint.pt --classifier classifier.pt --embeddings --out slide_nuclei

The folder it writes holds nuclei.parquet (GeoParquet: outlines, classes, probabilities), GeoJSON for QuPath, counts and
pictures. A stopped run continues when it is started again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from stnuclei import export, prediction
from stnuclei.cli.options import count
from stnuclei.errors import UserError

#: Options that say what `stnuclei.export.write_exports` makes of the nuclei.
_EXPORTS = ("geojson", "spatialdata", "overview")
_BOTH = ("batch_size", "device", "precision", "threads", "compile", "classifier")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("input", type=Path, nargs="?", help="slide, sample.zarr or other SpatialData store, folder of PNG or JPEG "
        "pictures, or patches.zarr")  # fmt: skip
    add("--patches", type=Path, help="patches.zarr, the same as giving it as input")
    add("--checkpoint", type=Path, required=True, help="checkpoint of stnuclei or of CellViT")
    add("--classifier", type=Path, help="cell classifier of stnuclei or CellViT++ that gives the classes")
    add("--out", type=Path, required=True, help="folder to write; predictions.zarr for patches")
    add("--batch-size", type=count, help="tiles (8 on a GPU, 1 on a CPU) or patches (64) at once")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:0,cuda:1 or cuda:all (auto)")
    add("--precision", default="auto", help="auto, bf16, fp16, fp32 (auto)")
    add("--threads", type=count, default=os.cpu_count() or 1, help="threads (all)")
    add("--compile", action="store_true", help="use torch.compile")
    _slide_options(parser.add_argument_group("slides"))
    _export_options(parser.add_argument_group("exports"))


def _slide_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--um-per-px", type=float, help="size of a slide pixel in um, where the slide does not state it")
    add("--override-um-per-px", action="store_true", help="believe --um-per-px even where the slide states another")
    add("--image", help="name of the image in a SpatialData store with several")
    add("--tissue", help="tissue map (tissue.tif), or `whole` to search everything (default: tissue is detected)")
    add("--region", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="part of the slide, full-resolution px")
    add("--tile", type=int, help="side of what the network sees, px (1024)")
    add("--overlap", type=int, help="overlap of tiles on each side, px (64)")
    add(
        "--tta", action="store_true", help="test-time augmentation, the mean over turns and flips: eight times the work"
    )
    add("--damaged", choices=("stop", "skip"), help="at a tile that cannot be decoded (stop)")
    add("--network-um-per-px", type=float, help="pixel size the model was trained at (0.25; 0.5 for x20 models)")
    add("--simplify-px", type=float, help="tolerance of simplified outlines, px (0.3)")


def _export_options(group: argparse._ArgumentGroup) -> None:
    words = (
        "one vector a nucleus, the mean token of the encoder: in nuclei.parquet, and in the SpatialData table's obsm"
    )
    group.add_argument("--embeddings", action="store_true", help=words)
    flag: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    group.add_argument("--geojson", default=True, help="GeoJSON for QuPath", **flag)
    group.add_argument("--overview", default=True, help="pictures of classes and densities", **flag)
    group.add_argument("--spatialdata", default=False, help="SpatialData store with the slide", **flag)


def run(options: argparse.Namespace) -> int:
    """Segment; print the counts."""
    from stnuclei.io.slide_input import input_format  # heavy, and not needed for --help

    chosen = vars(options)
    given, patches = chosen.pop("input"), chosen.pop("patches")
    if (given is None) == (patches is None):
        raise UserError("give one slide, store or folder to predict (or --patches)")
    print(_patches(patches or given, chosen) if patches or input_format(given) == "patches" else _slide(given, chosen))
    return 0


def _patches(patches: Path, options: dict[str, Any]) -> str:
    settings = {name: options[name] for name in _BOTH} | {"batch_size": options["batch_size"] or 64}
    if options["embeddings"]:
        raise UserError(
            "--embeddings is for slides and pictures; give the slide, or the tokens of patches by the workflow"
        )
    counts = prediction.predict_patches(options["checkpoint"], patches, options["out"], **settings)
    return f"{counts['nuclei']:,} nuclei in {counts['patches']:,} patches, {counts['patches_per_second']:,} patches/s"


def _slide(slide: Path, options: dict[str, Any]) -> str:
    exports = {name: options.pop(name) for name in _EXPORTS}
    # Vectors are asked for to be opened in scanpy.
    exports["spatialdata"] = exports["spatialdata"] or options["embeddings"]
    # What is not given is left to the defaults of `SlideSettings`.
    given = {name: value for name, value in options.items() if value is not None}
    counts = prediction.segment_slide(slide=slide, **given)
    if any(exports.values()):
        export.write_exports(options["out"], **exports, threads=options["threads"])
    classes = ", ".join(f"{number:,} {name}" for name, number in counts["by_class"].items() if number) or "none"
    waits = f"; {counts['binding']} took longest" if counts["binding"] else ""
    return f"{counts['nuclei']:,} nuclei ({classes}) in {counts['tiles']:,} tiles, {counts['seconds']:.0f} s{waits}"

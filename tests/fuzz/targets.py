"""Good inputs of every kind that strangers send, and their readers."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile
import torch
import yaml

from paths import ROOT
from stnuclei.cellvit import build_model, load_checkpoint, save_checkpoint
from stnuclei.config import check_config, read_samples
from stnuclei.config.slides import read_slides
from stnuclei.errors import UserError
from stnuclei.evaluation.folders import read_nuclei
from stnuclei.io import NucleiFile, read_sample
from stnuclei.io.alignment import read_alignment
from stnuclei.io.annotation import read_annotation
from stnuclei.io.slide_input import read_picture
from stnuclei.patches import PatchStore
from stnuclei.slides import open_slide
from stnuclei.taxonomy import Taxonomy
from training.conftest import write_source

for folder in ("io", "export"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
import bundle  # noqa: E402
import made_nuclei  # noqa: E402

SAMPLES = "sample\tplatform\tpath\ttissue\tsplit\tdonor\the_um_per_px\n" + "".join(
    f"s{k}\txenium\tdata/s{k}\tBreast\ttrain\td{k}\t0.25\n" for k in range(6)
)
SLIDES = "slide\tpath\tmodel\tum_per_px\n" + "".join(f"w{k}\tdata/w{k}.svs\tst\t0.25\n" for k in range(6))


def digest(*contents: object) -> str:
    """Hash of what a reader gave."""
    return hashlib.sha256(repr(contents).encode()).hexdigest()


def arrays(*values: np.ndarray) -> str:
    """Hash of arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in values)).hexdigest()


def _matrix(path: Path) -> None:
    np.savetxt(path, bundle.MATRIX, delimiter=",")


def _keypoints(path: Path) -> None:
    moving = np.random.default_rng(0).uniform(0, 4000, (8, 2))
    fixed = moving @ bundle.MATRIX[:2, :2].T + bundle.MATRIX[:2, 2]
    table = pd.DataFrame(np.hstack([fixed, moving]), columns=["fixedX", "fixedY", "alignmentX", "alignmentY"])
    table.to_csv(path, index=False)


def _annotation(path: Path) -> None:
    classes = ["Neoplastic", "Inflammatory", "Connective"]
    pd.DataFrame({"cell_id": [f"c{k}" for k in range(30)], "label": [classes[k % 3] for k in range(30)]}).to_csv(
        path, index=False
    )


def _geojson(path: Path) -> None:
    def square(k: int) -> dict:
        ring = [[k, k], [k + 5, k], [k + 5, k + 5], [k, k + 5], [k, k]]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": "Neoplastic"}},
        }

    path.write_text(json.dumps({"type": "FeatureCollection", "features": [square(10 * k) for k in range(8)]}))


def _picture(path: Path) -> None:
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def _slide(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="zlib", resolution=(40_000, 40_000))


def _checkpoint(path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(path, build_model("cellvit-tiny", 6, 0), taxonomy="pannuke")


def _nuclei(path: Path) -> None:
    made_nuclei.write(path, made_nuclei.outlines(made_nuclei.grid(60)), np.arange(60) % 6)


def _label_map(path: Path) -> None:
    labels = np.zeros((64, 64), np.uint16)
    labels[5:20, 5:20], labels[30:40, 30:50] = 1, 2
    tifffile.imwrite(path, labels, compression="zlib")


def _read_config(path: Path) -> str:
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        # Snakemake reads the file and says this itself.
        raise UserError(str(error)) from error
    if not isinstance(content, dict):
        raise UserError("no block of settings")
    return digest(check_config(content))


def _read_model(path: Path) -> str:
    model, metadata = load_checkpoint(path)
    return digest(sorted(metadata["classes"])) + arrays(*(v.numpy() for v in model.state_dict().values()))


def _read_slide(path: Path) -> str:
    slide = open_slide(path)
    return arrays(slide.read(0, 0, slide.shape[0], 0, slide.shape[1]))


def _read_nuclei(path: Path) -> str:
    frame = NucleiFile(path).read()
    return digest(frame.drop(columns="geometry").to_csv(), *frame.geometry.to_wkb())


def _read_truth(path: Path) -> str:
    return digest(repr(read_nuclei(path, Taxonomy.load("pannuke"))))


def _read_bundle(path: Path) -> str:
    sample = read_sample("xenium", path.parent, sample="tiny", tissue="Colon", checksums=False)
    return arrays(sample.table.X.toarray(), np.asarray(sample.table.obsm["spatial"]), sample.nuclei.area.to_numpy())


def _read_shard(path: Path) -> str:
    store = PatchStore(next(parent for parent in path.parents if parent.suffix == ".zarr"))
    return arrays(store.image[:], store.instances[:], store.centroid)


def _in_bundle(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        bundle.make_bundle(path.parent)
        assert path.is_file(), path

    return make


def _store(path: Path) -> None:
    folder = next(parent for parent in path.parents if parent.suffix == ".zarr").parent
    write_source(folder, "a", 12, "Breast", 0)


@dataclass(frozen=True)
class Target:
    """A kind of input.

    `checked`: the file has checksums, so that what is read from a changed one is what was written, or refused.
    `numbers`: the file is text of numbers, each of which is needed.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], str]
    checked: bool = False
    text: bool = False
    numbers: bool = False


def _text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


TARGETS = {
    "samples table": Target("samples.tsv", _text(SAMPLES), lambda p: digest(read_samples(p).to_csv()), text=True),
    "slides table": Target(
        "w.tsv", _text(SLIDES), lambda p: digest(read_slides(p, ["s0"], ["st"]).to_csv()), text=True
    ),
    "configuration": Target("c.yaml", _text((ROOT / "config/config.yaml").read_text()), _read_config, text=True),
    "alignment matrix": Target(
        "m.csv", _matrix, lambda p: arrays(read_alignment(p, 0.2125).matrix), text=True, numbers=True
    ),
    "alignment keypoints": Target(
        "k.csv", _keypoints, lambda p: arrays(read_alignment(p, 0.2125).matrix), text=True, numbers=True
    ),
    "annotation": Target("a.csv", _annotation, lambda p: digest(read_annotation(p).to_csv()), text=True),
    "GeoJSON": Target("g.geojson", _geojson, _read_truth, text=True),
    "label map": Target("l.tif", _label_map, _read_truth),
    "picture": Target("p.png", _picture, lambda p: arrays(read_picture(p))),
    "slide": Target("s.tif", _slide, _read_slide),
    "checkpoint": Target("c.pt", _checkpoint, _read_model, checked=True),
    "nuclei": Target("nuclei.parquet", _nuclei, _read_nuclei, checked=True),
    "pixels of patches": Target("a.zarr/image/c/0/0/0/0", _store, _read_shard, checked=True),
    "masks of patches": Target("a.zarr/instances/c/0/0/0", _store, _read_shard, checked=True),
    "experiment.xenium": Target("run/experiment.xenium", _in_bundle(""), _read_bundle, text=True),
    "cells of Xenium": Target("run/cells.parquet", _in_bundle(""), _read_bundle),
    "matrix of Xenium": Target("run/cell_feature_matrix.h5", _in_bundle(""), _read_bundle),
    "boundaries of Xenium": Target("run/nucleus_boundaries.parquet", _in_bundle(""), _read_bundle),
}

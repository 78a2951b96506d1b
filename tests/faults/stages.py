"""Stages of the workflow that the drill breaks: small inputs, the call of the job's script, the content that results.

Each stage is made of `make(inputs)`, once, `run(inputs, out)`, which is killed and called again, and `content(out)`,
which reads everything that was written, as the next stage does, and hashes what it read.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from expression.slides import visible_slide
from prediction.conftest import write_slide
from prediction.oracle import Oracle, Scene
from stnuclei.cellvit import build_model, load_checkpoint, save_checkpoint
from stnuclei.cellvit.tensors import read_tensors
from stnuclei.config import ExpressionSettings, TrainSettings
from stnuclei.expression import PatchSource, read_table, train_expression
from stnuclei.files import atomic_write, deliver, remove
from stnuclei.io import NucleiFile
from stnuclei.loading import Source
from stnuclei.patches import PatchBlock, PatchStore, write_patches
from stnuclei.patches.predictions import PredictionStore
from stnuclei.prediction import predict_patches, segment_slide
from stnuclei.training import train
from training.conftest import write_source


def _hash(*contents: bytes) -> str:
    return hashlib.sha256(b"|".join(contents)).hexdigest()


def _make_slide(inputs: Path) -> None:
    write_slide(inputs / "slide.tif", Scene.random(175, 225, seed=3).draw(0.25, 700, 900)[0])


def _segment(inputs: Path, out: Path) -> None:
    """What workflow/scripts/segment_slide.py does."""
    state = out / "state"
    segment_slide(None, inputs / "slide.tif", state, predictor=Oracle(), tile=384, tissue="whole", threads=1)
    deliver(state / "nuclei.parquet", out / "nuclei.parquet")
    remove(state)


def _nuclei(out: Path) -> str:
    frame = NucleiFile(out / "nuclei.parquet").read()
    return _hash(frame.drop(columns="geometry").to_csv().encode(), *frame.geometry.to_wkb())


def _make_patches(inputs: Path) -> None:
    write_source(inputs, "a", 24, "Breast", 0)
    torch.manual_seed(0)
    save_checkpoint(inputs / "model.pt", build_model("cellvit-tiny", 6, 0), taxonomy="pannuke")


def _cut(inputs: Path, out: Path) -> None:
    store = PatchStore(inputs / "a.zarr")
    block = PatchBlock(
        store.image[:], store.instances[:], store.origin, store.tissue, np.diff(store.offset),
        store.cell_index, store.nucleus_index, store.centroid,
    )  # fmt: skip
    attrs = {key: store.attrs[key] for key in ("sample", "tissues", "um_per_px", "settings")}
    write_patches(out / "patches.zarr", [block], attrs, size=store.patch_px)


def _patches(out: Path) -> str:
    store = PatchStore(out / "patches.zarr")
    columns = (store.image[:], store.instances[:], store.origin, store.offset, store.tissue)
    nuclei = (store.cell_index, store.nucleus_index, store.centroid)
    return _hash(store.content_hash.encode(), *(np.ascontiguousarray(array).tobytes() for array in (*columns, *nuclei)))


def _predict(inputs: Path, out: Path) -> None:
    predict_patches(inputs / "model.pt", inputs / "a.zarr", out / "predictions.zarr", device="cpu")


def _predictions(out: Path) -> str:
    store = PredictionStore(out / "predictions.zarr")
    return _hash(store.instances[:].tobytes(), store.offset.tobytes(), store.table.tobytes())


def _train(inputs: Path, out: Path) -> None:
    """What workflow/scripts/train_model.py does."""
    settings = TrainSettings(
        architecture="cellvit-tiny", epochs=2, batch_size=8, samples_per_epoch=8, validation_patches=0, workers=1,
        threads=1, device="cpu", tensorboard=False, augmentation="none",
    )  # fmt: skip
    source = Source(inputs / "a.zarr", inputs / "a.parquet")
    train([source], [], out / "state", settings, taxonomy="pannuke")
    for name in ("checkpoint.pt", "history.csv", "curves.png"):
        deliver(out / "state" / name, out / name)


def _model(out: Path) -> str:
    model, metadata = load_checkpoint(out / "checkpoint.pt")
    tensors = [value.numpy().tobytes() for value in model.state_dict().values()]
    return _hash(repr(sorted(metadata)).encode(), *tensors)


def _make_expression(inputs: Path) -> None:
    visible_slide(inputs, "s0", "d0", side=8)


def _train_expression(inputs: Path, out: Path) -> None:

    settings = ExpressionSettings(
        network="efficientnet-tiny", batch_size=16, threads=1, workers=1, seed=3, epochs=2, block=2
    )
    source = PatchSource(inputs / "s0" / "patches.zarr", inputs / "s0" / "expression.h5ad")
    train_expression([source], out / "state", settings, "single_donor")
    for name in ("checkpoint.pt", "history.csv", "split.tsv"):
        deliver(out / "state" / name, out / name)


def _expression_model(out: Path) -> str:
    content = read_tensors(out / "checkpoint.pt", "expression checkpoint")
    return _hash(repr(content["genes"]).encode(), *(v.numpy().tobytes() for v in content["model_state_dict"].values()))


def _write_table(inputs: Path, out: Path) -> None:
    table = read_table(inputs / "s0" / "expression.h5ad")
    with atomic_write(out / "expression.h5ad") as temporary:
        table.write_h5ad(temporary, compression="gzip")


def _table(out: Path) -> str:
    table = read_table(out / "expression.h5ad")
    return _hash(table.X.toarray().tobytes(), table.obs.to_csv().encode(), "".join(table.var_names).encode())


@dataclass(frozen=True)
class Stage:
    """A stage: `data` are the files and stores whose bytes are damaged, below the output folder."""

    make: Callable[[Path], None]
    run: Callable[[Path, Path], None]
    content: Callable[[Path], str]
    data: tuple[str, ...]


STAGES = {
    "patches.zarr": Stage(_make_patches, _cut, _patches, ("patches.zarr",)),
    "predictions.zarr": Stage(_make_patches, _predict, _predictions, ("predictions.zarr",)),
    "segmentation of a slide": Stage(_make_slide, _segment, _nuclei, ("nuclei.parquet",)),
    "training": Stage(_make_patches, _train, _model, ("checkpoint.pt",)),
    "expression table": Stage(_make_expression, _write_table, _table, ("expression.h5ad",)),
    "expression baseline": Stage(_make_expression, _train_expression, _expression_model, ("checkpoint.pt",)),
}

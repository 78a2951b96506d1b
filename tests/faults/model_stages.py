"""Stages of networks: training, predictions and scores, segmentation and its exports, the expression baseline."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from expression.slides import visible_slide
from faults.jobs import CONFIG, Stage, hashed, pixels, run_job
from prediction.conftest import write_slide
from prediction.oracle import Oracle, Scene
from stnuclei.cellvit import build_model, load_checkpoint, load_classifier, save_checkpoint
from stnuclei.cellvit.tensors import read_tensors
from stnuclei.config import TrainSettings
from stnuclei.expression import read_table as read_expression
from stnuclei.files import atomic_write
from stnuclei.io import NucleiFile
from stnuclei.patches.predictions import PredictionStore
from stnuclei.prediction import slide as slide_engine
from stnuclei.quality import TissueMap
from stnuclei.tables import read_table, write_table
from training.conftest import write_source

STORE, TABLE = "training.inputs/a.zarr", "training.inputs/a.parquet"
#: A network that has learned nothing, of the same kind as the trained one.
MODEL = "training.inputs/model.pt"


def _make_patches(folder: Path) -> None:
    write_source(folder, "a", 24, "Breast", 0)
    write_table(pd.read_parquet(folder / "a.parquet"), folder / "a.parquet")  # as label_cells writes it
    torch.manual_seed(0)
    save_checkpoint(folder / "model.pt", build_model("cellvit-tiny", 6, 0), taxonomy="pannuke")


def _train(base: Path, out: Path) -> None:
    settings = TrainSettings(
        architecture="cellvit-tiny", epochs=2, batch_size=8, samples_per_epoch=8, validation_patches=4, workers=1,
        threads=1, device="cpu", tensorboard=False, augmentation="none",
    )  # fmt: skip
    inputs = {"patches": [base / STORE], "labels": [base / TABLE]}
    inputs |= {f"validation_{name}": paths for name, paths in inputs.items()}
    outputs = {name: f"{name}.{end}" for name, end in (("checkpoint", "pt"), ("history", "csv"), ("curves", "png"))}
    params = {"settings": settings.model_dump(), "taxonomy": "pannuke", "sources": {}, "state": str(out / "training")}
    run_job("train_model", out, inputs, outputs, params, model="st")


def _model(out: Path) -> str:
    model, metadata = load_checkpoint(out / "checkpoint.pt")
    assert len(pd.read_csv(out / "history.csv")) == 2 and pixels(out / "curves.png").size
    return hashed(repr(sorted(metadata)), *(value.numpy() for value in model.state_dict().values()))


def _predict(base: Path, out: Path) -> None:
    inputs = {"checkpoint": base / MODEL, "patches": base / STORE}
    params = {"settings": CONFIG["prediction"]}
    run_job("predict_patches", out, inputs, {"predictions": "predictions.zarr"}, params, model="st", set="a")


def _predictions(out: Path) -> str:
    store = PredictionStore(out / "predictions.zarr")
    return hashed(store.instances[:], store.offset, store.table)


def _score(base: Path, out: Path) -> None:
    inputs = {"patches": base / STORE, "predictions": base / "predictions.zarr" / "predictions.zarr"}
    params = {"radius_um": CONFIG["evaluation"]["radius_um"], "taxonomy": "pannuke"}
    outputs = {"scores": "segmentation.parquet", "atlas": "atlas.png"}
    run_job("score_segmentation", out, inputs | {"labels": [base / TABLE]}, outputs, params, model="st", set="a")
    outputs = {"scores": "classification.parquet", "figure": "confusion.png"}
    run_job("score_classification", out, inputs | {"labels": [base / TABLE]}, outputs, params, model="st", set="a")


def _scores(out: Path) -> str:
    tables = (read_table(out / f"{name}.parquet").to_csv() for name in ("segmentation", "classification"))
    return hashed(*tables, pixels(out / "atlas.png"), pixels(out / "confusion.png"))


def _describe(base: Path, out: Path) -> None:
    inputs = {"patches": base / STORE, "labels": [base / TABLE], "others": [base / MODEL]}
    run_job("describe_set", out, inputs, {"provenance": "set.json"}, set="a")
    entry = {"split": "train", "name": "a", "labels": "stnuclei", "platform": "simulated"}
    inputs = {"checkpoint": base / "training" / "checkpoint.pt", "patches": [base / STORE], "tables": []}
    run_job("write_model_card", out, inputs, {"card": "README.md"}, {"sets": [entry], "row": "st"}, model="st")


def _described(out: Path) -> str:
    return hashed(json.dumps(json.loads((out / "set.json").read_text())), (out / "README.md").read_text())


def _tokens(base: Path, out: Path) -> None:
    names = {"base": "st", "set": "a", "nuclei": "run", "tokens": "nucleus"}
    inputs = {"checkpoint": base / MODEL, "patches": base / STORE}
    run_job("extract_tokens", out, inputs, {"tokens": "a.zarr"}, {"settings": CONFIG["prediction"]}, **names)
    inputs = {"tokens": [out / "a.zarr"], "labels": [base / TABLE], "validation_tokens": [], "validation_labels": []}
    outputs = {"classifier": "classifier.pt"}
    params = {"settings": {"epochs": 2, "seed": 0}, "taxonomy": "pannuke", "sources": {}, "model": "st"}
    run_job("train_classifier", out, inputs, outputs, params, classifier="head")


def _classifier(out: Path) -> str:
    return hashed(*(value.numpy() for value in load_classifier(out / "classifier.pt").head.state_dict().values()))


def _make_slide(folder: Path) -> None:
    write_slide(folder / "slide.tif", Scene.random(175, 225, seed=3).draw(0.25, 700, 900)[0])
    # Another model is another run: the network that reads the nuclei off the picture needs a file as well.
    (folder / "model.pt").write_bytes(b"oracle")


def _segment(base: Path, out: Path) -> None:
    slide_engine.Predictor = lambda *words, **more: Oracle()
    inputs = base / "segmentation.inputs"
    settings = {"tile": 384, "device": "cpu", "batch_size": 1}
    params = {"path": str(inputs / "slide.tif"), "um_per_px": "", "settings": settings, "state": str(out / "state")}
    outputs = {"nuclei": "nuclei.parquet", "tissue": "tissue.tif", "figure": "tissue.png"}
    given = {"checkpoint": inputs / "model.pt", "classifier": []}
    run_job("segment_slide", out, given, outputs, params, wsi="slide", segmenter="st")


def _nuclei(out: Path) -> str:
    frame = NucleiFile(out / "nuclei.parquet").read()
    maps = TissueMap.load(out / "tissue.tif").classes, pixels(out / "tissue.png")
    return hashed(frame.drop(columns="geometry").to_csv(), *frame.geometry.to_wkb(), *maps)


def _export(base: Path, out: Path) -> None:
    made = base / "segmentation"
    inputs = {"nuclei": made / "nuclei.parquet", "tissue": made / "tissue.tif"}
    slide = {"path": str(base / "segmentation.inputs" / "slide.tif")}
    pictures = {name: f"{name}.png" for name in ("overview", "density", "zooms")}
    settings = {name: CONFIG["segmentation"][name] for name in ("geojson", "max_nuclei_per_file")}
    outputs = {"qupath": "qupath", "summary": "summary.tsv", **pictures}
    run_job("export_slide", out, inputs, outputs, slide | {"settings": settings}, wsi="slide", segmenter="st")
    params = slide | {"copy_image": True}
    run_job("export_spatialdata", out, inputs, {"store": "slide.zarr"}, params, wsi="slide", segmenter="st")


def _exports(out: Path) -> str:
    import spatialdata

    data = spatialdata.read_zarr(out / "slide.zarr")
    image = np.asarray(data.images["he_image"]["scale0"].image.data)
    shapes = next(iter(data.shapes.values()))
    archives = sorted((out / "qupath").iterdir())
    pictures = (pixels(out / f"{name}.png") for name in ("overview", "density", "zooms"))
    return hashed(
        image, *shapes.geometry.to_wkb(), data.tables["table"].obs.to_csv(), (out / "summary.tsv").read_text(),
        *(path.name for path in archives), *(str(path.stat().st_size) for path in archives), *pictures,
    )  # fmt: skip


def _make_expression(folder: Path) -> None:
    visible_slide(folder, "s0", "d0", side=8)


def _write_expression(base: Path, out: Path) -> None:
    table = read_expression(base / "expression table.inputs" / "s0" / "expression.h5ad")
    with atomic_write(out / "expression.h5ad") as temporary:
        table.write_h5ad(temporary, compression="gzip")


def _expression(out: Path) -> str:
    table = read_expression(out / "expression.h5ad")
    return hashed(table.X.toarray(), table.obs.to_csv(), "".join(table.var_names))


def _train_expression(base: Path, out: Path) -> None:
    slide = base / "expression table.inputs" / "s0"
    inputs = {"patches": [slide / "patches.zarr"], "expression": [slide / "expression.h5ad"]}
    settings = {"network": "efficientnet-tiny", "batch_size": 16, "threads": 1, "workers": 1, "seed": 3, "epochs": 2}
    params = {"settings": settings | {"block_patches": 2}, "protocol": "single_donor", "held_out": []}
    params |= {"samples": ["s0"], "state": str(out / "training")}
    outputs = {"checkpoint": "checkpoint.pt", "split": "split.tsv", "history": "history.csv", "curves": "curves.png"}
    run_job("train_expression", out, inputs, outputs, params, baseline="b", run="trained")


def _expression_model(out: Path) -> str:
    content = read_tensors(out / "checkpoint.pt", "expression checkpoint")
    weights = content["model_state_dict"].values()
    split = (out / "split.tsv").read_text()
    assert pixels(out / "curves.png").size and len(pd.read_csv(out / "history.csv")) == 2
    return hashed(repr(content["genes"]), split, *(value.numpy() for value in weights))


_TRAINED = {STORE: True, TABLE: True}
_SEGMENTED = {"segmentation/nuclei.parquet": True}
MODEL_STAGES = {
    "training": Stage(_train, _model, ("checkpoint.pt",), _make_patches, _TRAINED),
    "predictions.zarr": Stage(
        _predict, _predictions, ("predictions.zarr",), None, {MODEL: True, STORE: True}, ("training",)
    ),
    "scores": Stage(
        _score,
        _scores,
        ("segmentation.parquet", "classification.parquet"),
        None,
        {"predictions.zarr/predictions.zarr": True},
        ("training", "predictions.zarr"),
    ),  # fmt: skip
    "provenance and model card": Stage(
        _describe, _described, (), None, {"training/checkpoint.pt": True}, ("training",)
    ),
    "classifier": Stage(_tokens, _classifier, ("classifier.pt",), None, {MODEL: True, STORE: True}, ("training",)),
    "segmentation": Stage(
        _segment, _nuclei, ("nuclei.parquet",), _make_slide, {"segmentation.inputs/slide.tif": False}
    ),
    # What is exported is read by other programs; damage to it is theirs to notice.
    "exports": Stage(_export, _exports, (), None, _SEGMENTED, ("segmentation",)),
    "expression table": Stage(_write_expression, _expression, ("expression.h5ad",), _make_expression),
    "expression baseline": Stage(
        _train_expression,
        _expression_model,
        ("checkpoint.pt",),
        None,
        {"expression table.inputs/s0/patches.zarr": True, "expression table.inputs/s0/expression.h5ad": True},
        ("expression table",),
    ),  # fmt: skip
}

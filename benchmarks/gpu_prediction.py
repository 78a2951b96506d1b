"""Part `prediction` of `benchmarks/gpu.py`: patches and tiles a second."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from gpu_common import ALL, Rows, device_of, gib, source_of
from stnuclei.cellvit.checkpoint import save_checkpoint
from stnuclei.cellvit.model import build_model
from stnuclei.prediction.inference import Inference
from stnuclei.prediction.patches import predict_patches
from stnuclei.prediction.predictor import Predictor
from stnuclei.slides.prefetch import prefetch_map


def prediction(options: argparse.Namespace) -> Rows:
    """Patches a second of `predict_patches`, tiles a second of the slide engine's network, by precision."""
    device, rows = device_of(options), []
    cpu = device.type == "cpu"
    for name in ("cellvit-tiny",) if cpu else ALL:
        checkpoint = options.folder / f"{name}.pt"
        model = build_model(name, 6, 1)
        save_checkpoint(checkpoint, model, taxonomy="pannuke", tissues=["Breast"])
        for precision in ("fp32",) if cpu else ("fp16", "bf16"):
            row: dict[str, Any] = {"architecture": name, "precision": precision}
            rows.append(row | _tile_rate(checkpoint, str(device), precision))
        if name in ("cellvit-tiny", "cellvit-256"):
            counts = predict_patches(
                checkpoint, source_of(options).patches, options.folder / f"{name}.zarr", threads=16, device=str(device)
            )
            rows[-1]["predict_patches patches/s"] = counts["patches_per_second"]
    return rows


def _tile_rate(checkpoint: Path, device: str, precision: str) -> dict[str, Any]:
    """Tiles of 1,024 px (192 on a CPU) from as many threads as the engine uses."""
    predictor = Predictor(checkpoint, device, precision)
    inference, cpu = Inference([predictor]), predictor.device.type == "cpu"
    tiles = np.random.default_rng(0).integers(0, 255, (1, 192, 192, 3) if cpu else (8, 1024, 1024, 3), dtype=np.uint8)
    inference(tiles, 64)
    batches = 1 if cpu else 12
    begin = time.perf_counter()
    done = sum(len(maps) for maps in prefetch_map(lambda t: inference(t, 64), [tiles] * batches, inference.workers))
    return {"tile px": tiles.shape[1], "tiles/s": done / (time.perf_counter() - begin), "GiB": gib(predictor.device)}

"""Tokens of every nucleus of a patch store, taken once from a trained model."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stnuclei.cellvit.nuclei import NucleiTable, Shapes, measure
from stnuclei.cellvit.nucleus_tokens import TokenChoice, TokenGrid, nucleus_vectors
from stnuclei.classifiers.token_store import TokenStore, write_tokens
from stnuclei.disk import check_output
from stnuclei.errors import UserError
from stnuclei.evaluation.detection import pair_centroids
from stnuclei.files import sha256
from stnuclei.patches.store import PatchStore
from stnuclei.prediction.description import describe
from stnuclei.prediction.patches import separate
from stnuclei.prediction.predictor import PredictedMaps, Predictor, check_pixel_size, cpu_threads
from stnuclei.progress import Progress

#: ``run``: the nuclei of the patch store, by the encoder alone; ``network``: the model's own, paired with those.
NucleusSource = Literal["run", "network"]
#: Greatest distance of the centroids of a pair, um: CellViT++ takes 15 px of 0.25 um.
PAIR_UM = 3.75


def extract_tokens(
    checkpoint: str | Path,
    patches: str | Path,
    out: str | Path,
    *,
    tokens: TokenChoice = "box",
    nuclei: NucleusSource = "run",
    batch_size: int = 64,
    threads: int = 1,
    **network: Any,
) -> dict[str, Any]:
    """Write the vectors of a patch store's nuclei as ``tokens.zarr``.

    Parameters
    ----------
    checkpoint
        File of ours or of the official code.
    patches
        A patches.zarr.
    out
        Output store; an existing one of the same content is kept.
    tokens
        Which tokens of a nucleus are averaged, see `TokenChoice`.
    nuclei
        Whose outlines say so: the run's, or the network's own, which is what the classifier will meet; of these the
        ones without a partner within `PAIR_UM` are left out, as in CellViT++.
    batch_size
        Patches at once.
    threads
        For the arithmetic of a CPU.
    **network
        ``device`` and ``precision`` of `Predictor`.

    Returns
    -------
    The attributes of the store; ``cost`` has seconds, cpu_seconds, patches and device.

    Raises
    ------
    UserError
        If checkpoint, store and device do not go together.
    """
    check_output(Path(out))
    store, predictor = PatchStore(patches), Predictor(checkpoint, **network)
    check_pixel_size(predictor.metadata, store.um_per_px, f"cut {store.path} again with patches.um_per_px {{um}}")
    identity = {
        "sample": store.sample,
        "n_cells": store.attrs.get("n_cells"),
        "patches_sha256": store.content_hash,
        "model": {**describe(predictor), "sha256": sha256(checkpoint)},
        "tokens": tokens,
        "nuclei": nuclei,
    }
    if (done := _existing(out, identity)) is not None:
        return done
    started, cpu = time.monotonic(), cpu_seconds()
    bar = Progress(len(store), f"tokens of {store.sample}", "patches")
    with cpu_threads(threads, predictor.device):
        stream = _patches(store, predictor, tokens, nuclei, batch_size)
        cost: dict[str, Any] = {"patches": len(store), "device": predictor.device.type}
        attrs = {**identity, "cost": cost}
        written = write_tokens(out, _timed(stream, bar, cost, started, cpu), store.cell_index, predictor.dim, attrs)
    bar.close()
    return written


def cpu_seconds() -> float:
    """CPU seconds that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _existing(out: str | Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Attributes of a store that holds the same already."""
    try:
        attrs = TokenStore(out).attrs
    except UserError:
        return None
    if any(attrs.get(key) != value for key, value in identity.items()):
        return None
    print(f"{out}: is there already, of the same patches and model", flush=True)
    return attrs


def _timed(
    stream: Iterator[tuple[np.ndarray, np.ndarray]], bar: Progress, cost: dict[str, Any], started: float, cpu: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The stream; its cost is known when it ends, before the attributes are written."""
    for vectors, rows in stream:
        bar.update(1)
        yield vectors, rows
    cost |= {"seconds": round(time.monotonic() - started, 2), "cpu_seconds": round(cpu_seconds() - cpu, 2)}


def _patches(
    store: PatchStore, predictor: Predictor, tokens: TokenChoice, nuclei: NucleusSource, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors and rows of the nuclei of each patch."""
    for begin in range(0, len(store), batch_size):
        images = store.image[begin : begin + batch_size]
        instances = store.instances[begin : begin + batch_size]
        if nuclei == "run":
            grids = predictor.token_grids(images)
            for k, labels in enumerate(instances):
                grid = TokenGrid(grids[k], images.shape[2] / grids.shape[2])
                yield _run_nuclei(grid, labels, int(store.offset[begin + k]), tokens)
        else:
            maps = predictor.maps(images, tokens=True)
            for k, labels in enumerate(instances):
                yield _own_nuclei(maps, k, labels, store, begin + k, tokens)


def _run_nuclei(grid: TokenGrid, labels: np.ndarray, first: int, tokens: TokenChoice) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the patch store's nuclei; id k is row k - 1 of the patch."""
    shapes = measure(labels)
    return _vectors(grid, labels, shapes, tokens), first + shapes.id.astype(np.int64) - 1


def _own_nuclei(
    maps: PredictedMaps, k: int, labels: np.ndarray, store: PatchStore, patch: int, tokens: TokenChoice
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the network's nuclei that have a partner among the patch store's, with the partner's row."""
    predicted, table = separate(maps, k, store.um_per_px)
    truth, grid = measure(labels), maps.grid(k)
    if grid is None:
        raise ValueError("the maps hold no tokens")
    pairs, _, _ = pair_centroids(truth.centroid, table.centroid, PAIR_UM / store.um_per_px, policy="official")
    pairs = pairs[np.argsort(pairs[:, 0])]
    vectors = _vectors(grid, predicted, table, tokens)
    return vectors[pairs[:, 1]], int(store.offset[patch]) + truth.id[pairs[:, 0]].astype(np.int64) - 1


def _vectors(grid: TokenGrid, labels: np.ndarray, nuclei: Shapes | NucleiTable, tokens: TokenChoice) -> np.ndarray:
    return nucleus_vectors(grid, labels, nuclei.id, nuclei.bbox, nuclei.centroid, tokens)

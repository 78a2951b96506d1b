"""Prediction of a patch store: reading, network, separation and writing side by side, in order, in bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.cellvit.classifier import CellClassifier
from stnuclei.cellvit.nuclei import NucleiTable, nuclei_table
from stnuclei.cellvit.postprocess import separate_nuclei
from stnuclei.disk import check_output
from stnuclei.errors import UserError
from stnuclei.files import sha256
from stnuclei.patches import PatchStore
from stnuclei.patches.predictions import write_predictions
from stnuclei.prediction.description import describe
from stnuclei.prediction.descriptors import classified
from stnuclei.prediction.inference import classifier_of
from stnuclei.prediction.predictor import PredictedMaps, Predictor, check_pixel_size, cpu_threads
from stnuclei.progress import Progress
from stnuclei.slides.prefetch import prefetch_map

Prediction = tuple[np.ndarray, NucleiTable]
WAITING = 2  # batches whose nuclei are being separated while the network works on the next one


def predict_patches(
    checkpoint: str | Path,
    patches: str | Path,
    out: str | Path,
    *,
    batch_size: int = 64,
    threads: int = 1,
    **network: Any,
) -> dict[str, Any]:
    """Predict the nuclei of every patch of a store and write them as ``predictions.zarr``.

    Parameters
    ----------
    checkpoint
        File of ours or of the official code.
    patches
        A patches.zarr.
    out
        Output store; an existing one is replaced.
    batch_size
        Patches the network sees at once.
    threads
        For reading, for the arithmetic of a CPU, and for separating nuclei, which runs outside the interpreter lock.
        The result does not depend on it.
    **network
        ``device``, ``precision``, ``compile`` and ``classifier`` of `Predictor`.

    Returns
    -------
    Counts: patches, nuclei, seconds, patches_per_second.

    Raises
    ------
    UserError
        If checkpoint, store, device or sizes do not go together.
    """
    if batch_size < 1:
        raise UserError(f"prediction.batch_size must be at least 1, not {batch_size}")
    check_output(Path(out))
    store, predictor = PatchStore(patches), Predictor(checkpoint, **network)
    check_pixel_size(predictor.metadata, store.um_per_px, f"cut {store.path} again with patches.um_per_px {{um}}")
    attrs = {
        "sample": store.sample,
        "um_per_px": store.um_per_px,
        "patches_sha256": store.content_hash,
        "model": {**describe(predictor), "sha256": sha256(checkpoint)},
        "taxonomy": predictor.metadata["taxonomy"],
        "classes": predictor.classes,
    }
    started = time.monotonic()
    bar = Progress(len(store), f"prediction of {store.sample}", "patches")
    with cpu_threads(threads, predictor.device):
        predictions = _counted(_predictions(store, predictor, batch_size, threads), bar)
        counts = write_predictions(out, predictions, len(store), store.patch_px, attrs)
    bar.close()
    seconds = time.monotonic() - started
    return {**counts, "seconds": round(seconds, 2), "patches_per_second": round(len(store) / max(seconds, 1e-9), 1)}


def _counted(predictions: Iterator[Prediction], bar: Progress) -> Iterator[Prediction]:
    nuclei = 0
    for prediction in predictions:
        nuclei += len(prediction[1])
        bar.update(1, f"{nuclei:,} nuclei")
        yield prediction


def _predictions(store: PatchStore, predictor: Predictor, batch_size: int, threads: int) -> Iterator[Prediction]:
    """Predictions in the order of the store.

    While the network works on a batch, the next is read and the nuclei of those before are separated.
    """
    waiting: deque[list[Future[Prediction]]] = deque()
    classifier = classifier_of(predictor)
    slices = [slice(begin, begin + batch_size) for begin in range(0, len(store), batch_size)]
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="stnuclei-separate")
    try:
        # Two batches at a time on a GPU (see `thread_stream`), and never in the thread that writes the store.
        workers = 2 if predictor.device.type == "cuda" else 1
        for maps in prefetch_map(predictor, prefetch_map(store.image.__getitem__, slices, 1), workers):
            waiting.append([pool.submit(separate, maps, i, store.um_per_px, classifier) for i in range(len(maps))])
            if len(waiting) > WAITING:
                yield from (future.result() for future in waiting.popleft())
        while waiting:
            yield from (future.result() for future in waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def separate(maps: PredictedMaps, i: int, um_per_px: float, classifier: CellClassifier | None = None) -> Prediction:
    """Separate the nuclei of one patch.

    Parameters
    ----------
    maps
        The network's maps of a batch.
    i
        Number of the patch in the batch.
    um_per_px
        Size of a pixel.
    classifier
        Gives the classes from the maps' tokens; None: the type map does.

    Returns
    -------
    Label map (H, W) int32 with ids 1..K, and the table of the K nuclei.
    """
    instances = separate_nuclei(maps.foreground[i], maps.hv[i], um_per_px)
    table = nuclei_table(instances, maps.types[i])
    return instances, classified(table, instances, maps.grid(i), classifier)

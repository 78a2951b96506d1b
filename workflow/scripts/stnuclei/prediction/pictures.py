"""Segmentation of a folder of pictures, each by itself, as patches are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType

import numpy as np
import pyarrow as pa

from stnuclei.errors import UserError
from stnuclei.io.slide_input import read_picture
from stnuclei.prediction.inference import Inference
from stnuclei.prediction.instances import SeparationSettings, separate_picture
from stnuclei.prediction.nuclei_arrays import NucleiArrays
from stnuclei.prediction.partial_results import PartialResults
from stnuclei.prediction.sweep import MERGING, NETWORK, READING, SEPARATION
from stnuclei.prediction.tiles import TileMaps
from stnuclei.progress import Progress, StageTimer
from stnuclei.slides.prefetch import prefetch_map
from stnuclei.slides.regions import read_region, resampled_shape
from stnuclei.slides.slide import WHITE

#: Pictures in one partial result.
PART_SIZE = 256
#: Largest side, network pixels: a picture is seen whole.
LARGEST = 4096


@dataclass(frozen=True)
class PictureJob:
    """Everything that segmenting pictures needs; see `SlideSettings` for most.

    Parameters
    ----------
    inference, separation
        The network, and how nuclei are separated (each picture by its range of HV gradients, as published).
    most_px
        Pixels that the network sees at once.
    threads, damaged
        As in the settings.
    timer
        Updated as the work proceeds.
    """

    inference: Inference
    separation: SeparationSettings
    most_px: int
    threads: int
    damaged: str
    timer: StageTimer


def segment_pictures(job: PictureJob, files: list[Path], partial: PartialResults, bar: Progress) -> None:
    """Segment pictures and keep the nuclei as partial results, in the order of the files."""
    classes, embedding = job.inference.classes, job.separation.use.embedding
    for number, begin in enumerate(range(0, len(files), PART_SIZE)):
        chunk = files[begin : begin + PART_SIZE]
        if number < partial.finished(0):
            continue
        tables, bad = [], 0
        for path, nuclei in _nuclei(job, chunk):
            bad += nuclei is None
            arrays = NucleiArrays.none(len(classes), embedding) if nuclei is None else nuclei
            tables.append(arrays.to_arrow(classes, path.name))
            bar.update(1, f"{sum(map(len, tables)):,} nuclei in the last {len(tables)}")
        with job.timer.of(MERGING):
            info = {"tiles": len(chunk), "tiles_damaged": bad, "images": len(chunk)}
            partial.write(0, number, pa.concat_tables(tables), info)


def _nuclei(job: PictureJob, files: list[Path]) -> Iterator[tuple[Path, NucleiArrays | None]]:
    """Nuclei of each file in order, None for a file that could not be read and is skipped."""
    pictures = prefetch_map(lambda path: _picture(job, path), files, max(1, job.threads // 2), 2)
    maps = prefetch_map(lambda batch: _maps(job, batch), _batches(pictures, job.most_px), job.inference.workers)
    with (
        ThreadPoolExecutor(job.threads, thread_name_prefix="stnuclei-separate") as pool,
        closing(pictures),
        closing(maps),
    ):
        done = iter(files)
        for batch in maps:
            nuclei = list(pool.map(lambda tile: _separate(job, tile), batch))
            yield from zip(itertools.islice(done, len(batch)), nuclei, strict=True)


def _picture(job: PictureJob, path: Path) -> np.ndarray | None:
    """A file's pixels at the network's size."""
    try:
        with job.timer.of(READING):
            pixels = read_picture(path)
            height, width = resampled_shape(pixels.shape, job.separation.ratio)
            if max(height, width) > LARGEST:
                raise UserError(
                    f"{path}: is {width} x {height} px, a picture is segmented whole; give it as a slide (TIFF)"
                )
            return read_region(pixels, 0, 0, width, height, job.separation.ratio)
    except UserError as error:
        if job.damaged == "stop":
            raise
        print(f"left out: {error}", flush=True)
        return None


Batch = list[np.ndarray | None]


def _batches(pictures: Iterator[np.ndarray | None], most_px: int) -> Iterator[Batch]:
    """Pictures of equal size that follow each other, as many as the network sees at once."""
    held: Batch = []
    for picture in pictures:
        shape = None if picture is None else picture.shape
        before = next((p.shape for p in held if p is not None), shape)
        if held and ((shape or before) != before or (len(held) + 1) * np.prod((before or (1, 1))[:2]) > most_px):
            yield held
            held = []
        held.append(picture)
    if held:
        yield held


def _maps(job: PictureJob, batch: Batch) -> list[TileMaps | None]:
    """Maps of each picture, cut to its size; white is added below and to the right up to multiples of 16."""
    there = [picture for picture in batch if picture is not None]
    if not there:
        return [None] * len(batch)
    height, width = there[0].shape[:2]
    # Turned pictures must keep their shape.
    sides = [max(height, width)] * 2 if job.inference.tta else [height, width]
    images = np.full((len(there), *(-(-side // 16) * 16 for side in sides), 3), WHITE, np.uint8)
    images[:, :height, :width] = there
    with job.timer.of(NETWORK):
        maps = iter(job.inference(images))
    cut = np.s_[..., :height, :width]
    return [None if p is None else _cut(next(maps), cut) for p in batch]


def _cut(maps: TileMaps, window: tuple[EllipsisType | slice, ...]) -> TileMaps:
    foreground, hv, types = (np.ascontiguousarray(array[window]) for array in (maps.foreground, maps.hv, maps.types))
    return TileMaps(foreground, hv, types, maps.tokens)


def _separate(job: PictureJob, maps: TileMaps | None) -> NucleiArrays | None:
    if maps is None:
        return None
    with job.timer.of(SEPARATION):
        return separate_picture(maps, job.separation)

"""A folder of pictures, each segmented by itself, as patches are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stnuclei.cellvit.nuclei import nuclei_table
from stnuclei.cellvit.postprocess import separate_nuclei
from stnuclei.errors import UserError
from stnuclei.io.slide_input import read_picture
from stnuclei.patches.prefetch import ahead
from stnuclei.prediction.inference import Inference
from stnuclei.prediction.instances import Separation, measured
from stnuclei.prediction.maps import CellMaps
from stnuclei.prediction.nuclei_arrays import FoundNuclei
from stnuclei.prediction.partial_results import Parts
from stnuclei.prediction.timing import MERGING, NETWORK, READING, SEPARATION, Stages
from stnuclei.progress import Progress
from stnuclei.slides.regions import read_region
from stnuclei.slides.slide import WHITE

#: Pictures put aside at once.
PART = 256
#: Largest side, network pixels: a picture is seen whole.
LARGEST = 4096


@dataclass(frozen=True)
class PictureJob:
    """All that segmenting pictures needs; see `SlideSettings` for most.

    Parameters
    ----------
    inference, how
        The network, and how nuclei are separated (each picture by its own slopes, as published).
    most_px
        Pixels that the network sees at once.
    threads, damaged
        As in the settings.
    stages
        Told what is done.
    """

    inference: Inference
    how: Separation
    most_px: int
    threads: int
    damaged: str
    stages: Stages


def segment_pictures(job: PictureJob, files: list[Path], parts: Parts, bar: Progress) -> None:
    """Segment pictures and put the nuclei aside, part by part, in the order of the files."""
    classes = job.inference.classes
    for number, begin in enumerate(range(0, len(files), PART)):
        chunk = files[begin : begin + PART]
        if number < parts.finished(0):
            continue
        tables, bad = [], 0
        for path, nuclei in _nuclei(job, chunk):
            bad += nuclei is None
            found = FoundNuclei.none(len(classes)) if nuclei is None else nuclei
            tables.append(found.to_arrow(classes, path.name))
            bar.update(1, f"{sum(map(len, tables)):,} nuclei in the last {len(tables)}")
        with job.stages.of(MERGING):
            info = {"tiles": len(chunk), "tiles_damaged": bad, "images": len(chunk)}
            parts.write(0, number, pa.concat_tables(tables), info)


def _nuclei(job: PictureJob, files: list[Path]) -> Iterator[tuple[Path, FoundNuclei | None]]:
    """Nuclei of each file in order, None where it could not be read and that is to be passed over."""
    pictures = ahead(lambda path: _picture(job, path), files, max(1, job.threads // 2), 2)
    maps = ahead(lambda batch: _maps(job, batch), _batches(pictures, job.most_px), len(job.inference.networks))
    with (
        ThreadPoolExecutor(job.threads, thread_name_prefix="stnuclei-separate") as pool,
        closing(pictures),
        closing(maps),
    ):
        done = iter(files)
        for batch in maps:
            found = list(pool.map(lambda one: _separate(job, one), batch))
            yield from zip(itertools.islice(done, len(batch)), found, strict=True)


def _picture(job: PictureJob, path: Path) -> np.ndarray | None:
    """A file's pixels at the network's size."""
    try:
        with job.stages.of(READING):
            pixels = read_picture(path)
            height, width = (max(1, int(np.ceil(n / job.how.ratio - 1e-6))) for n in pixels.shape[:2])
            if max(height, width) > LARGEST:
                raise UserError(f"{path}: is {width} x {height} px, pictures are seen whole; give it as a slide (TIFF)")
            return read_region(pixels, 0, 0, width, height, job.how.ratio)
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


def _maps(job: PictureJob, batch: Batch) -> list[CellMaps | None]:
    """Maps of each picture, cut to its size; white is added below and to the right up to multiples of 16."""
    there = [picture for picture in batch if picture is not None]
    if not there:
        return [None] * len(batch)
    height, width = there[0].shape[:2]
    # Turned pictures must keep their shape.
    sides = [max(height, width)] * 2 if job.inference.augmentation else [height, width]
    images = np.full((len(there), *(-(-side // 16) * 16 for side in sides), 3), WHITE, np.uint8)
    images[:, :height, :width] = there
    with job.stages.of(NETWORK):
        maps = iter(job.inference(images))
    cut = np.s_[..., :height, :width]
    return [None if p is None else _cut(next(maps), cut) for p in batch]


def _cut(maps: CellMaps, part: tuple[Any, ...]) -> CellMaps:
    return CellMaps(*(np.ascontiguousarray(array[part]) for array in (maps.foreground, maps.hv, maps.types)))


def _separate(job: PictureJob, maps: CellMaps | None) -> FoundNuclei | None:
    if maps is None:
        return None
    with job.stages.of(SEPARATION):
        labels = separate_nuclei(maps.foreground, maps.hv, job.how.um_per_px)
        table = nuclei_table(labels, maps.types)
        everything = np.arange(len(table))
        flags = np.ones(len(table), bool)
        return measured(labels, table, everything, (0, 0), job.how, flags, ~flags)

"""Steps of a segmentation: tissue, range of the HV gradients, sweep, assembly, metadata."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from stnuclei.cellvit.postprocess import GradientRange
from stnuclei.config.segmentation import SlideSettings
from stnuclei.files import atomic_write, locked, remove
from stnuclei.io.nuclei_file import NucleiFile, NucleiWriter
from stnuclei.io.slide_input import SlideInput, in_memory
from stnuclei.prediction.border_merge import assemble, merge_rows
from stnuclei.prediction.calibrate import calibrate
from stnuclei.prediction.description import model_taxonomy
from stnuclei.prediction.descriptors import TokenUse
from stnuclei.prediction.inference import Inference, Network, classifier_of
from stnuclei.prediction.instances import SeparationSettings
from stnuclei.prediction.partial_results import PartialResults, partial_folder
from stnuclei.prediction.pictures import PictureJob, segment_pictures
from stnuclei.prediction.search_region import SearchRegion
from stnuclei.prediction.sweep import MERGING, NETWORK, READING, SEPARATION, SweepJob, readers, sweep
from stnuclei.prediction.tile_reader import TileReader
from stnuclei.prediction.tiles import TileGrid
from stnuclei.progress import Progress, StageTimer
from stnuclei.quality import TissueMap, channel_problem, draw_tissue, find_tissue
from stnuclei.slides.regions import pixel_ratio
from stnuclei.slides.wrappers import DamageTolerantSlide

#: Medians of real tissue lie inside: lymphocytes have about 28 um2, nuclei of carcinomas 60 to 110.
PLAUSIBLE_AREA_UM2 = (14.0, 180.0)
#: Nuclei from which a median is judged.
_ENOUGH = 50
#: To be raised with every change after which the same input and settings give other nuclei.
ENGINE = 1


def tiles_at_once(settings: SlideSettings, device: torch.device) -> int:
    """Batch size on a device; a tile takes a CellViT-256 2 GB, hence one on a CPU."""
    return settings.batch_size or (8 if device.type == "cuda" else 1)


def token_use(settings: SlideSettings, network: Network) -> TokenUse:
    """Uses of the encoder's tokens that settings and network ask for."""
    return TokenUse(classifier_of(network), network.dim if settings.embeddings else 0)


def implausible(path: Path, count: int) -> list[str]:
    """Warnings about nuclei that cannot be right, which a wrong pixel size or an untrained model gives."""
    if not count:
        return ["no nucleus was found; is the model trained, and is the slide H&E at the pixel size that was given?"]
    if count < _ENOUGH:
        return []
    area = float(np.median(pq.read_table(path, columns=["area_um2"])["area_um2"].to_numpy()))
    low, high = PLAUSIBLE_AREA_UM2
    if low <= area <= high:
        return []
    return [
        f"half of the {count:,} nuclei are {'smaller' if area < low else 'larger'} than {area:.0f} um2; {low:g} to "
        f"{high:g} um2 are usual in tissue: is the slide's um_per_px right?"
    ]


class SegmentationRun:
    """Segmentation of a slide or of pictures: its identity, its stages, its metadata; calling it runs it."""

    def __init__(
        self,
        source: SlideInput,
        settings: SlideSettings,
        networks: list[Network],
        out: Path,
        tissue: TissueMap | str | Path | None,
        model: dict[str, Any],
    ) -> None:
        self.source, self.settings, self.out, self.model = source, settings, out, model
        self.use = token_use(settings, networks[0])
        self.inference = Inference(networks, settings.tta, tokens=bool(self.use))
        self.classes, self.device = self.inference.classes, networks[0].device
        self.ratio = pixel_ratio(source.um_per_px, settings.network_um_per_px)
        self.tissue = TissueMap.load(tissue) if isinstance(tissue, str | Path) and tissue != "whole" else tissue
        self.fingerprint = self._fingerprint()
        workers = {READING: readers(settings.threads), NETWORK: len(networks)}
        self.timer = StageTimer({**workers, SEPARATION: settings.threads, MERGING: 1})
        self.began = time.monotonic()
        self.extra: dict[str, Any] = {"tissue_mm2": None, "width": None, "height": None, "gradients": None}

    def _fingerprint(self) -> dict[str, Any]:
        tissue = "found" if self.tissue is None else self.tissue
        if isinstance(tissue, TissueMap):
            tissue = hashlib.sha256(tissue.classes.tobytes() + str(tissue.he_px_per_px).encode()).hexdigest()
        content = {
            "engine": ENGINE,
            "source": self.source.identity,
            "um_per_px": self.source.um_per_px,
            "model": {key: self.model[key] for key in ("sha256", "precision", "classifier") if key in self.model},
            "settings": self.settings.identity(),
            "tissue": tissue,
        }
        return json.loads(json.dumps(content))

    def finished(self) -> dict[str, Any] | None:
        """Counts of an existing output of the same slide, model and settings."""
        path = self.out / "nuclei.parquet"
        if not all((self.out / name).is_file() for name in ("nuclei.parquet", *self._tissue_files())):
            return None
        metadata = NucleiFile(path).metadata
        if metadata.get("fingerprint") != self.fingerprint:
            return None
        remove(partial_folder(self.out))  # of a run that ended between its last two steps
        print(f"{path}: is there already, of the same slide, model and settings", flush=True)
        return {**metadata["counts"], "seconds": 0.0, "stages": {}, "binding": None}

    def _tissue_files(self) -> tuple[str, ...]:
        """Files of the output that show the tissue; none where everything is searched."""
        searched_whole = self.source.slide is None or isinstance(self.tissue, str)
        drawn = self.tissue is None or (isinstance(self.tissue, TissueMap) and self.tissue.overview is not None)
        return () if searched_whole else ("tissue.tif", "tissue.png") if drawn else ("tissue.tif",)

    def __call__(self) -> dict[str, Any]:
        with locked(partial_folder(self.out)):
            return self._run()

    def _run(self) -> dict[str, Any]:
        partial = PartialResults(self.out, self.fingerprint)
        if self.source.slide is None:
            self._pictures(partial)
        else:
            self._slide(partial)
        counts = self._assemble(partial)
        seconds = time.monotonic() - self.began
        stages = {"stages": self.timer.report(counts["tiles"]), "binding": self.timer.binding()}
        return {**counts, "seconds": round(seconds, 2), **stages}

    def _separation(self, gradients: GradientRange | None) -> SeparationSettings:
        um = self.source.um_per_px * self.ratio
        return SeparationSettings(um, self.ratio, self.settings.simplify_px, gradients, self.use)

    def _pictures(self, partial: PartialResults) -> None:
        settings, files = self.settings, self.source.pictures
        most_px = tiles_at_once(settings, self.device) * settings.tile**2
        job = PictureJob(
            self.inference, self._separation(None), most_px, settings.threads, settings.damaged, self.timer
        )
        bar = Progress(len(files), f"segmenting {self.source.name}", "pictures")
        segment_pictures(job, files, partial, bar)
        bar.close()

    def _slide(self, partial: PartialResults) -> None:
        settings, slide = self.settings, self.source.require_slide()
        height, width = slide.shape[:2]
        tissue = self._tissue(partial)
        region = SearchRegion.of(width, height, self.source.um_per_px, tissue, settings.region)
        columns, rows = (int(np.ceil(side / self.ratio - 1e-6)) for side in (width, height))
        grid = TileGrid(columns, rows, settings.tile, settings.overlap)
        reader = TileReader(in_memory(slide), self.ratio, grid, settings.damaged)
        if "gradients" not in partial.notes:
            um = self.source.um_per_px * self.ratio
            partial.note("gradients", list(calibrate(reader, self.inference, region, um)))
        separation = self._separation(GradientRange(*partial.notes["gradients"]))
        self._sweep(reader, region, separation, partial)
        self.extra = {
            "tissue_mm2": region.mm2,
            "width": width,
            "height": height,
            "gradients": partial.notes["gradients"],
        }

    def _tissue(self, partial: PartialResults) -> TissueMap | None:
        """Tissue map, computed once and kept for a resumed run."""
        if isinstance(self.tissue, str):
            return None
        path = partial.folder / "tissue.tif"
        if not path.is_file():
            whole = self.source.require_slide()
            slide = whole if self.settings.damaged == "stop" else DamageTolerantSlide(whole)
            tissue = self.tissue or find_tissue(slide, self.source.um_per_px, name=self.source.name)
            if problem := channel_problem(slide, self.source.um_per_px, tissue):
                print(f"warning: {self.source.name}: {problem}", flush=True)
            if tissue.overview is not None:
                draw_tissue(tissue, partial.folder / "tissue.png")
            tissue.save(path)
        return TissueMap.load(path)

    def _sweep(
        self, reader: TileReader, region: SearchRegion, separation: SeparationSettings, partial: PartialResults
    ) -> None:
        needed = region.needed_tiles(reader.grid, self.ratio)
        batch_size = tiles_at_once(self.settings, self.device)
        bar = Progress(0, f"segmenting {self.source.name}", "tiles")
        threads = self.settings.threads
        job = SweepJob(reader, self.inference, needed, region, separation, batch_size, threads, self.timer, bar)
        left = [(strip, partial.finished(strip.number)) for strip in reader.grid.strips()]
        left = [(strip, first) for strip, first in left if first < len(needed)]
        bar.total = sum(len(columns) for todo in left for _, columns in job.batches(*todo))
        nuclei = 0
        for strip, first in left:
            rows = sweep(job, strip, first)
            for final in merge_rows(rows, partial, reader.grid, strip, self.classes, self.timer):
                nuclei += final
                bar.update(0, f"{nuclei:,} nuclei")
        bar.close()

    def _assemble(self, partial: PartialResults) -> dict[str, Any]:
        """Write the output, nuclei.parquet last: where it exists the others do."""
        for name in ("tissue.tif", "tissue.png"):
            if (partial.folder / name).is_file():
                with atomic_write(self.out / name) as temporary:
                    shutil.copyfile(partial.folder / name, temporary)
        pictures = self.source.slide is None
        with self.timer.of(MERGING), atomic_write(self.out / "nuclei.parquet") as temporary:
            writer = NucleiWriter(temporary, self.classes, pictures, self.use.embedding)
            try:
                counts = assemble(partial, writer, self.classes)
                writer.close(self._metadata(counts))
            except BaseException:
                writer.close()
                raise
        partial.remove()
        for warning in implausible(self.out / "nuclei.parquet", counts["nuclei"]):
            print(f"warning: {self.source.name}: {warning}", flush=True)
        return counts

    def _metadata(self, counts: dict[str, Any]) -> dict[str, Any]:
        source = self.source
        return {
            "slide": source.name,
            # From the output's folder on, see `stnuclei.export.find_slide`; nothing of this machine's layout beyond.
            "slide_path": os.path.relpath(source.path.resolve(), self.out.resolve()),
            "source": source.format,
            "image": source.image,
            "slide_um_per_px": source.um_per_px,
            "network_um_per_px": source.um_per_px * self.ratio,
            "taxonomy": model_taxonomy(self.inference.networks[0].metadata, self.classes).to_dict(),
            "classes": self.classes,
            "model": self.model,
            "settings": self.settings.identity(),
            **self.extra,
            "counts": counts,
            "fingerprint": self.fingerprint,
        }

"""The steps of a segmentation: tissue, slopes, sweep, assembly, and what is written down of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.cellvit.postprocess import GradientRange
from stnuclei.files import atomic_write, remove
from stnuclei.io.nuclei_file import NucleiFile, NucleiWriter
from stnuclei.io.slide_input import SlideInput, in_memory
from stnuclei.prediction.border_merge import assemble, join_rows
from stnuclei.prediction.calibrate import calibrate
from stnuclei.prediction.inference import Inference, Network
from stnuclei.prediction.instances import Separation
from stnuclei.prediction.partial_results import Parts, folder_of
from stnuclei.prediction.pictures import PictureJob, segment_pictures
from stnuclei.prediction.reading import TileReader
from stnuclei.prediction.search_region import SearchArea
from stnuclei.prediction.settings import SlideSettings
from stnuclei.prediction.sweep import Job, readers, sweep
from stnuclei.prediction.taxonomies import taxonomy_of
from stnuclei.prediction.tiles import TileGrid
from stnuclei.prediction.timing import MERGING, NETWORK, READING, SEPARATION, Stages
from stnuclei.progress import Progress
from stnuclei.quality import TissueMap, find_tissue
from stnuclei.slides.regions import pixel_ratio
from stnuclei.slides.wrappers import DamageTolerantSlide

#: Raised where the same input and settings give other nuclei than before.
ENGINE = 1


class Run:
    """One segmentation of a slide or of pictures: what identifies it, its stages, its metadata; a call does it."""

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
        self.inference = Inference(networks, settings.augmentation)
        self.classes, self.device = self.inference.classes, networks[0].device
        self.ratio = pixel_ratio(source.um_per_px, settings.network_um_per_px)
        self.tissue = TissueMap.load(tissue) if isinstance(tissue, str | Path) and tissue != "whole" else tissue
        self.fingerprint = self._fingerprint()
        workers = {READING: readers(settings.threads), NETWORK: len(networks)}
        self.stages = Stages({**workers, SEPARATION: settings.threads, MERGING: 1})
        self.began = time.monotonic()
        self.extra: dict[str, Any] = {"tissue_mm2": None, "width": None, "height": None, "slopes": None}

    def _fingerprint(self) -> dict[str, Any]:
        how = "found" if self.tissue is None else self.tissue
        if isinstance(how, TissueMap):
            how = hashlib.sha256(how.classes.tobytes() + str(how.he_px_per_px).encode()).hexdigest()
        content = {
            "engine": ENGINE,
            "source": self.source.identity,
            "um_per_px": self.source.um_per_px,
            "model": {key: self.model[key] for key in ("sha256", "precision")},
            "settings": self.settings.to_dict(),
            "tissue": how,
        }
        return json.loads(json.dumps(content))

    def finished(self) -> dict[str, Any] | None:
        """Counts of what stands in the output already, where it is just what would be made."""
        path = self.out / "nuclei.parquet"
        if not path.is_file():
            return None
        metadata = NucleiFile(path).metadata
        if metadata.get("fingerprint") != self.fingerprint:
            return None
        remove(folder_of(self.out))  # of a run that ended between its last two steps
        print(f"{path}: is there already, of the same slide, model and settings", flush=True)
        return {**metadata["counts"], "seconds": 0.0, "stages": {}, "binding": None}

    def __call__(self) -> dict[str, Any]:
        parts = Parts(self.out, self.fingerprint)
        if self.source.slide is None:
            self._pictures(parts)
        else:
            self._slide(parts)
        counts = self._assemble(parts)
        seconds = time.monotonic() - self.began
        stages = {"stages": self.stages.report(counts["tiles"]), "binding": self.stages.binding()}
        return {**counts, "seconds": round(seconds, 2), **stages}

    def _how(self, slopes: GradientRange | None) -> Separation:
        um = self.source.um_per_px * self.ratio
        return Separation(um, self.ratio, self.settings.simplify_px, slopes)

    def _pictures(self, parts: Parts) -> None:
        settings, files = self.settings, self.source.pictures
        most_px = settings.tiles_at_once(self.device) * settings.tile**2
        job = PictureJob(self.inference, self._how(None), most_px, settings.threads, settings.damaged, self.stages)
        bar = Progress(len(files), f"segmenting {self.source.name}", "pictures")
        segment_pictures(job, files, parts, bar)
        bar.close()

    def _slide(self, parts: Parts) -> None:
        settings, slide = self.settings, self.source.slide
        height, width = slide.shape[:2]
        tissue = self._tissue(parts)
        area = SearchArea.of(width, height, self.source.um_per_px, tissue, settings.region)
        sides = (int(np.ceil(side / self.ratio - 1e-6)) for side in (width, height))
        grid = TileGrid(*sides, settings.tile, settings.overlap)
        reader = TileReader(in_memory(slide), self.ratio, grid, settings.damaged)
        if "slopes" not in parts.notes:
            um = self.source.um_per_px * self.ratio
            parts.note("slopes", list(calibrate(reader, self.inference, area, um)))
        how = self._how(GradientRange(*parts.notes["slopes"]))
        self._sweep(reader, area.cells(grid, self.ratio), area, how, parts)
        self.extra = {"tissue_mm2": area.mm2, "width": width, "height": height, "slopes": parts.notes["slopes"]}

    def _tissue(self, parts: Parts) -> TissueMap | None:
        """The map, found once and kept for a run that goes on."""
        if isinstance(self.tissue, str):
            return None
        path = parts.folder / "tissue.tif"
        if not path.is_file():
            slide = self.source.slide if self.settings.damaged == "stop" else DamageTolerantSlide(self.source.slide)
            found = self.tissue or find_tissue(slide, self.source.um_per_px, name=self.source.name)
            if found.overview is not None:
                found.figure(parts.folder / "tissue.png")
            found.save(path)
        return TissueMap.load(path)

    def _sweep(self, reader: TileReader, cells: np.ndarray, area: SearchArea, how: Separation, parts: Parts) -> None:
        batch_size = self.settings.tiles_at_once(self.device)
        bar = Progress(0, f"segmenting {self.source.name}", "tiles")
        job = Job(reader, self.inference, cells, area, how, batch_size, self.settings.threads, self.stages, bar)
        left = [(strip, parts.finished(strip.number)) for strip in reader.grid.strips()]
        left = [(strip, first) for strip, first in left if first < len(cells)]
        bar.total = sum(len(columns) for todo in left for _, columns in job.batches(*todo))
        nuclei = 0
        for strip, first in left:
            for found in join_rows(sweep(job, strip, first), parts, reader.grid, strip, self.classes, self.stages):
                nuclei += found
                bar.update(0, f"{nuclei:,} nuclei")
        bar.close()

    def _assemble(self, parts: Parts) -> dict[str, Any]:
        """Write the output, nuclei.parquet last: where it stands everything does."""
        for name in ("tissue.tif", "tissue.png"):
            if (parts.folder / name).is_file():
                with atomic_write(self.out / name) as aside:
                    shutil.copyfile(parts.folder / name, aside)
        pictures = self.source.slide is None
        with self.stages.of(MERGING), atomic_write(self.out / "nuclei.parquet") as aside:
            writer = NucleiWriter(aside, self.classes, pictures)
            try:
                counts = assemble(parts, writer, self.classes)
                writer.close(self._metadata(counts))
            except BaseException:
                writer.close()
                raise
        parts.remove()
        return counts

    def _metadata(self, counts: dict[str, Any]) -> dict[str, Any]:
        source = self.source
        return {
            "slide": source.name,
            "slide_path": str(source.path.resolve()),
            "source": source.format,
            "image": source.image,
            "slide_um_per_px": source.um_per_px,
            "network_um_per_px": source.um_per_px * self.ratio,
            "taxonomy": taxonomy_of(self.inference.networks[0].metadata, self.classes).to_dict(),
            "classes": self.classes,
            "model": self.model,
            "settings": self.settings.to_dict(),
            **self.extra,
            "counts": counts,
            "fingerprint": self.fingerprint,
        }

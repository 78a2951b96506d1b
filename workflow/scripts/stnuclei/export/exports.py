"""Everything that is made of the nuclei of one slide, in one call."""

from __future__ import annotations

import os
from pathlib import Path

from stnuclei.errors import UserError
from stnuclei.export.density import draw_density
from stnuclei.export.geojson import MAX_NUCLEI_PER_FILE, Form, write_geojson
from stnuclei.export.overview import draw_overview
from stnuclei.export.spatialdata_store import write_spatialdata
from stnuclei.export.summary import write_summary
from stnuclei.export.zooms import draw_zooms
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.io.slide_input import open_slide_input
from stnuclei.quality.tissue_map import TissueMap
from stnuclei.slides.slide import Slide


def write_exports(
    out: str | Path,
    *,
    slide: str | Path | None = None,
    geojson: bool = True,
    spatialdata: bool = False,
    overview: bool = True,
    form: Form = "zip",
    max_nuclei_per_file: int = MAX_NUCLEI_PER_FILE,
    copy_image: bool = True,
    threads: int = 1,
) -> dict[str, Path]:
    """Write the exports of a segmented slide beside its nuclei.

    Parameters
    ----------
    out
        Folder of `stnuclei.prediction.segment_slide`: nuclei.parquet, tissue.tif.
    slide
        The slide's path, where it is not any more where it was when it was segmented.
    geojson
        Write ``qupath/`` (see `write_geojson`, also for `form` and `max_nuclei_per_file`).
    spatialdata
        Write ``slide.zarr`` (see `write_spatialdata`); `copy_image` False leaves the H&E out.
    overview
        Write ``overview.png``, ``density.png`` and ``zooms.png``; of a folder of pictures there are none.
    threads
        For copying the image.

    Returns
    -------
    What was written, by name; ``summary`` (summary.tsv) always.

    Raises
    ------
    UserError
        If the nuclei or the slide cannot be read.
    """
    out = Path(out)
    nuclei = NucleiFile(out)
    pixels = find_slide(nuclei, slide) if overview or (spatialdata and copy_image) else None
    made = {"summary": out / "summary.tsv"}
    write_summary(nuclei, made["summary"])
    if geojson:
        made["geojson"] = out / "qupath"
        write_geojson(nuclei, made["geojson"], form=form, max_nuclei_per_file=max_nuclei_per_file)
    if overview and pixels is not None:
        made |= draw_slide(nuclei, out, pixels, out / "tissue.tif")
    if spatialdata:
        made["spatialdata"] = out / "slide.zarr"
        write_spatialdata(nuclei, made["spatialdata"], pixels if copy_image else None, threads=threads)
    return made


def draw_slide(
    nuclei: NucleiFile, folder: Path, slide: Slide | None, tissue: str | Path | None = None
) -> dict[str, Path]:
    """Draw overview, densities and zooms of a slide.

    Parameters
    ----------
    nuclei
        Opened nuclei.parquet.
    folder
        Where ``overview.png``, ``density.png`` and ``zooms.png`` go.
    slide
        The H&E.
    tissue
        The slide's tissue map; without one densities are per area of slide.

    Returns
    -------
    The pictures by name.

    Raises
    ------
    UserError
        If the nuclei are of a folder of pictures: there is no whole to show.
    """
    if slide is None:
        raise UserError(f"{nuclei.path}: nuclei of a folder of pictures have no slide to draw; leave the overview out")
    made = {name: folder / f"{name}.png" for name in ("overview", "density", "zooms")}
    draw_overview(nuclei, made["overview"], slide)
    tissue_map = TissueMap.load(tissue) if tissue is not None and Path(tissue).is_file() else None
    draw_density(nuclei, made["density"], tissue_map)
    draw_zooms(nuclei, slide, made["zooms"])
    return made


def find_slide(nuclei: NucleiFile, slide: str | Path | None = None) -> Slide | None:
    """The pixels the nuclei were found on; None where they were a folder of pictures.

    Parameters
    ----------
    nuclei
        Says where the slide was.
    slide
        Where it is now, if elsewhere.

    Raises
    ------
    UserError
        If it is gone, or is another one by its size.
    """
    meta = nuclei.metadata
    if not meta.get("width"):
        return None
    path = Path(slide) if slide else Path(os.path.normpath(nuclei.path.resolve().parent / meta["slide_path"]))
    if not path.exists():
        raise UserError(f"{nuclei.path}: its slide {path} is gone; say where it is now")
    pixels = open_slide_input(path, nuclei.um_per_px, override=True, image=meta.get("image")).slide
    size = None if pixels is None else tuple(pixels.shape[:2])
    if size != (meta["height"], meta["width"]):
        raise UserError(
            f"{nuclei.path}: was made from a slide of {meta['width']} x {meta['height']} px, but {path} is another one"
        )
    return pixels

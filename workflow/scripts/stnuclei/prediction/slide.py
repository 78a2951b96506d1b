"""A slide and a checkpoint in, nuclei with classes out: memory flat, tile row after tile row, resumable.

The key-value metadata ``stnuclei`` of nuclei.parquet is a JSON object::

    slide (name), slide_path, source ("slide" | "sample" | "spatialdata" | "pictures"), image,
    slide_um_per_px, width, height (he_px; null for pictures), network_um_per_px, taxonomy (dict, see
    `Taxonomy.from_dict`), classes (names, background first), model (arch, architecture, epoch, tissues, provenance,
    precision, device, sha256), settings (dict), tissue_mm2 (tissue searched, blurred included; null for pictures),
    slopes (the range nuclei were separated by), fingerprint,
    counts ({"nuclei": n, "by_class": {name: n}, "tiles": n, "tiles_damaged": n, "images": n})
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stnuclei.files import sha256
from stnuclei.io.slide_input import open_slide_input
from stnuclei.prediction.inference import Network
from stnuclei.prediction.partial_results import room_on_disk
from stnuclei.prediction.predictor import Predictor, cpu_threads, describe
from stnuclei.prediction.run import Run
from stnuclei.prediction.settings import SlideSettings
from stnuclei.quality import TissueMap


def segment_slide(
    checkpoint: str | Path | None,
    slide: str | Path,
    out: str | Path,
    *,
    um_per_px: float | None = None,
    override_um_per_px: bool = False,
    image: str | None = None,
    name: str | None = None,
    tissue: TissueMap | str | Path | None = None,
    predictor: Network | Sequence[Network] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Find the nuclei of a slide and write the folder `out`.

    The folder holds ``nuclei.parquet`` (GeoParquet, read it with `NucleiFile`; its metadata is described at the head of
    this module) and, where tissue was looked for, ``tissue.tif`` and ``tissue.png`` (`stnuclei.quality.TissueMap`).

    Stopped half-way, it goes on at the first row of tiles that is not finished, kept in ``<out>.partial``; the result
    is the same. Where `out` already holds what would be made, nothing is done.

    Parameters
    ----------
    checkpoint
        File of ours or of the official code.
    slide
        A slide tifffile or openslide opens; a sample.zarr; another SpatialData store; a folder of PNG or JPEG pictures.
    out
        Folder to write.
    um_per_px
        Size of a slide pixel, where the slide does not state it.
    override_um_per_px
        Believe `um_per_px` even where the slide states another.
    image
        Name of the image in a SpatialData store with several.
    name
        What pictures and messages call the slide; None: its file's name.
    tissue
        The slide's tissue map or its file; ``"whole"``: everything is searched; None: tissue is found here.
    predictor
        Used instead of loading the checkpoint, one a device.
    **settings
        See `SlideSettings`: tile, overlap, batch_size, augmentation, device, precision, compile, threads, damaged,
        network_um_per_px, simplify_px, region.

    Returns
    -------
    The counts of the metadata, ``seconds``, ``stages`` (see `Stages.report`) and ``binding``, the stage the others
    wait for.

    Raises
    ------
    UserError
        If slide, checkpoint and settings do not go together, the pixel size is not known or not sure, there is no
        tissue, a tile cannot be decoded, or the disk is full.
    """
    chosen, out = SlideSettings(**settings), Path(out)
    source = open_slide_input(slide, um_per_px, override_um_per_px, image)
    source = replace(source, name=name or source.name)
    chosen.check_slide(source.name, source.um_per_px)
    networks = _networks(checkpoint, chosen, predictor)
    run = Run(source, chosen, networks, out, tissue, _model(checkpoint, networks[0]))
    if done := run.finished():
        return done
    with room_on_disk(out), cpu_threads(chosen.threads, networks[0].device):
        return run()


def _networks(
    checkpoint: str | Path | None, settings: SlideSettings, given: Network | Sequence[Network] | None
) -> list[Network]:
    if given is not None:
        return list(given) if isinstance(given, Sequence) else [given]
    return [Predictor(checkpoint, name, settings.precision, compile=settings.compile) for name in settings.devices]


def _model(checkpoint: str | Path | None, network: Network) -> dict[str, Any]:
    return {**describe(network), "sha256": None if checkpoint is None else sha256(checkpoint)}

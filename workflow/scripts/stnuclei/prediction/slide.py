"""Segmentation of a slide: a checkpoint in, nuclei with classes out, in bounded memory and resumable.

The key-value metadata ``stnuclei`` of nuclei.parquet is a JSON object::

    slide (name), slide_path, source ("slide" | "sample" | "spatialdata" | "pictures"), image,
    slide_um_per_px, width, height (he_px; null for pictures), network_um_per_px, taxonomy (dict, see
    `Taxonomy.from_dict`), classes (names, background first), model (arch, architecture, epoch, tissues, provenance,
    precision, device, sha256), settings (dict), tissue_mm2 (tissue searched, blurred included; null for pictures),
    gradients (range of the HV gradients by which nuclei were separated), fingerprint,
    counts ({"nuclei": n, "by_class": {name: n}, "tiles": n, "tiles_damaged": n, "images": n})
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stnuclei.config.segmentation import SlideSettings
from stnuclei.disk import check_output, disk_full_explained
from stnuclei.errors import UserError
from stnuclei.files import sha256
from stnuclei.io.slide_input import open_slide_input
from stnuclei.prediction.description import describe
from stnuclei.prediction.inference import Network
from stnuclei.prediction.predictor import Predictor, check_pixel_size, cpu_threads
from stnuclei.prediction.run import SegmentationRun
from stnuclei.quality import TissueMap

#: Keywords of `segment_slide` for opening the slide; all others but the name are settings.
_OPENING = ("um_per_px", "override_um_per_px", "image")


def segment_slide(
    checkpoint: str | Path | None,
    slide: str | Path,
    out: str | Path,
    *,
    tissue: TissueMap | str | Path | None = None,
    predictor: Network | Sequence[Network] | None = None,
    classifier: str | Path | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Find the nuclei of a slide and write the folder `out`.

    The folder holds ``nuclei.parquet`` (GeoParquet, read it with `NucleiFile`; its metadata is described at the head of
    this module) and, where tissue was looked for, ``tissue.tif`` and ``tissue.png`` (`stnuclei.quality.TissueMap`).

    Stopped half-way, it goes on at the first row of tiles that is not finished, kept in ``<out>.partial``; the result
    is the same. Where `out` already holds the same result, nothing is done.

    Parameters
    ----------
    checkpoint
        Checkpoint of stnuclei or of the official code.
    slide
        A slide tifffile or openslide opens; a sample.zarr; another SpatialData store; a folder of PNG or JPEG pictures.
    out
        Folder to write.
    tissue
        The slide's tissue map or its file; ``"whole"``: everything is searched; None: tissue is detected here.
    predictor
        Used instead of loading the checkpoint, one for each device.
    classifier
        File of a cell classifier, of ours or of CellViT++, that gives the classes.
    **settings
        Of the slide (`stnuclei.io.slide_input.open_slide_input`): ``um_per_px`` (size of a pixel where the slide does
        not state it), ``override_um_per_px`` (use it even where the slide states another), ``image`` (its name in a
        SpatialData store with several) and ``name`` (for pictures and messages; default: the file's). All others are
        those of `SlideSettings`: tile, overlap, batch_size, tta, device, precision, compile, threads,
        damaged, network_um_per_px, simplify_px, embeddings, region.

    Returns
    -------
    The counts of the metadata, ``seconds``, ``stages`` (see `StageTimer.report`) and ``binding``, the stage the others
    wait for.

    Raises
    ------
    UserError
        If slide, checkpoint and settings do not go together, the pixel size is not known or not sure, there is no
        tissue, a tile cannot be decoded, or the disk is full.
    """
    name, opening = settings.pop("name", None), [settings.pop(key, None) for key in _OPENING]
    chosen, out = SlideSettings(**settings), Path(out)
    check_output(out)
    source = open_slide_input(slide, opening[0], bool(opening[1]), opening[2])
    source = replace(source, name=name or source.name)
    chosen.check_slide(source.name, source.um_per_px)
    networks = _networks(checkpoint, chosen, predictor, classifier)
    remedy = "set network_um_per_px to {um} (segmentation.network_um_per_px, --network-um-per-px)"
    check_pixel_size(networks[0].metadata, chosen.network_um_per_px, remedy)
    run = SegmentationRun(source, chosen, networks, out, tissue, _model(checkpoint, networks[0]))
    if done := run.finished():
        return done
    kept = "the finished rows of tiles are kept (1 kB a nucleus is needed)"
    with disk_full_explained(out, kept), cpu_threads(chosen.threads, networks[0].device):
        return run()


def _networks(
    checkpoint: str | Path | None,
    settings: SlideSettings,
    given: Network | Sequence[Network] | None,
    classifier: str | Path | None,
) -> list[Network]:
    if given is not None:
        if classifier is not None:
            raise UserError("segment_slide: give the classifier to the predictor (Predictor.attach), not beside it")
        return list(given) if isinstance(given, Sequence) else [given]
    if checkpoint is None:
        raise UserError("segment_slide needs a checkpoint; give the file of a trained model")
    return [
        Predictor(checkpoint, name, settings.precision, compile=settings.compile, classifier=classifier)
        for name in device_names(settings.device)
    ]


def device_names(device: str | Sequence[str]) -> list[str]:
    """Names of devices; ``cuda:all`` is every GPU visible."""
    if device == "cuda:all":
        return [f"cuda:{k}" for k in range(torch.cuda.device_count())] or ["cuda"]
    return device.split(",") if isinstance(device, str) else list(device)


def _model(checkpoint: str | Path | None, network: Network) -> dict[str, Any]:
    return {**describe(network), "sha256": None if checkpoint is None else sha256(checkpoint)}

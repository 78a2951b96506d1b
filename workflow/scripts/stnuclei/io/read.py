"""Entry point: read a run of any platform into a `Sample`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from stnuclei.errors import UserError
from stnuclei.io.inputs import SampleInputs
from stnuclei.io.resegmentation import resegment
from stnuclei.io.sample import Sample

#: Platform -> its reader, ``module:function``: takes `SampleInputs` and the platform's own options, returns a `Sample`.
#: Named by text so that a run of one platform does not import the libraries of the others.
READERS = {
    "xenium": "stnuclei.io.xenium:read_xenium",
    "hest": "stnuclei.io.hest:read_hest",
    "spatialdata": "stnuclei.io.spatialdata_reader:read_spatialdata",
    "cosmx": "stnuclei.io.cosmx:read_cosmx",
    "merscope": "stnuclei.io.merscope:read_merscope",
    "visium_hd": "stnuclei.io.visium_hd:read_visium_hd",
}
#: Beginnings that make a spreadsheet run a text; a minus before anything but a number.
_FORMULA = re.compile(r"[=@+\t\r]|-[^\d.]")
_COMMON = tuple(field.name for field in fields(SampleInputs) if field.name not in ("path", "name"))


def read_sample(
    platform: str,
    path: str | Path,
    he_image: str | Path | None = None,
    he_alignment: str | Path | None = None,
    *,
    sample: str | None = None,
    **options: Any,
) -> Sample:
    """Read one run; the slide stays on disk until pixels are asked for.

    Parameters
    ----------
    platform
        ``xenium``, ``hest``, ``spatialdata``, ``cosmx``, ``merscope`` or ``visium_hd``.
    path
        The run's output folder, the HEST-1k dataset's folder, or the SpatialData store.
    he_image
        The H&E slide; when not given it is looked for beside the bundle. HEST-1k and SpatialData bring their own.
    he_alignment
        Xenium, CosMx, MERSCOPE: CSV with a 3x3 matrix (H&E px to px of the run's image) or with Xenium Explorer
        keypoints, Explorer's export zip, an affine of QuPath, landmarks of napari, QuPath or STalign
        (``he_file;run_file#unit``), or the word ``identity``; when not given it is looked for beside the bundle.
    sample
        Name for messages and provenance; the bundle's folder, or the HEST id, when not given.
    **options
        ``tissue`` (str); ``he_um_per_px`` (float: the H&E pixel size that holds where alignment and metadata
        disagree); ``pixel_size_tolerance`` (fraction, 0.02); ``checksums`` (bool, SHA-256 of the sources into the
        provenance, True); ``nuclei``, ``counts`` (nuclei segmented anew, ``file#unit``, and what they are counted from,
        see `stnuclei.io.resegmentation`). Xenium, HEST: ``count_in`` (``cells``, or ``nuclei``: only transcripts over
        nuclei), ``min_qv`` (transcripts below are not counted, 20; for cells Xenium brings its matrix). HEST: ``id``
        (which sample of the dataset). SpatialData: ``he_element``, ``nuclei_element``, ``table_element`` (names;
        guessed where there is one), ``coordinate_system`` (that joins them, where several disagree), ``um_per_px``
        (H&E pixel size, only where the store does not state it).

    Returns
    -------
    The sample, coordinates in he_px.

    Raises
    ------
    UserError
        In one sentence that names the sample and the file, for whatever cannot be read, does not fit together or
        would have to be guessed.
    """
    path = Path(path)
    name = sample or str(options.get("id") or path.resolve().name)
    if platform not in READERS:
        raise UserError(f"sample {name}: platform {platform!r} is none of {', '.join(READERS)}")
    _check_options(name, platform, options)
    common = {key: options.pop(key) for key in _COMMON if key in options}
    if common.get("counts") and not common.get("nuclei"):
        raise UserError(f"sample {name}: counts {common['counts']} are for nuclei segmented anew; name these in nuclei")
    given = SampleInputs(path, name, he_image, he_alignment, **common)
    try:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; give the {platform} output folder")
        read = _reader(platform)(given, **options)
        _check_names(read)
        return resegment(read, given) if given.nuclei else read
    except UserError as error:
        raise UserError(f"sample {name}: {error}") from error.__cause__


def _check_names(sample: Sample) -> None:
    """Refuse cells and genes that a spreadsheet would take for a formula: they are written into tables as they are."""
    for noun, names in (("cell", sample.table.obs_names), ("gene", sample.table.var_names)):
        strange = next((name for name in names if _FORMULA.match(name)), None)
        if strange is not None:
            raise UserError(f"{noun} {strange[:60]!r} is named like a formula of a spreadsheet; is the run damaged?")


def platform_options(platform: str) -> tuple[str, ...]:
    """Names of the options that only this platform's reader takes."""
    return tuple(inspect.signature(_reader(platform)).parameters)[1:]


def _reader(platform: str) -> Callable[..., Sample]:
    module, function = READERS[platform].split(":")
    return getattr(import_module(module), function)


def _check_options(name: str, platform: str, options: dict[str, Any]) -> None:
    known = (*_COMMON, *platform_options(platform))
    for option in options:
        if option not in known:
            others = [other for other in READERS if option in platform_options(other)]
            belongs = f"belongs to platform {', '.join(others)}" if others else "is not known"
            raise UserError(f"sample {name}: option {option} {belongs}; {platform} takes {', '.join(known)}")

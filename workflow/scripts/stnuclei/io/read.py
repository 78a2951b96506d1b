"""The one door: a Xenium run or a HEST-1k sample in, a `Sample` out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stnuclei.errors import UserError
from stnuclei.io.hest import read_hest
from stnuclei.io.sample import Sample
from stnuclei.io.xenium import read_xenium

_READERS: dict[str, Callable[..., Sample]] = {"xenium": read_xenium, "hest": read_hest}


def read_sample(
    platform: str,
    path: str | Path,
    he_image: str | Path | None = None,
    he_alignment: str | Path | None = None,
    *,
    sample: str | None = None,
    **options: Any,
) -> Sample:
    """Read one Xenium run or HEST-1k sample; the slide stays on disk until pixels are asked for.

    Parameters
    ----------
    platform
        ``xenium`` or ``hest``.
    path
        The Xenium output folder, or the HEST-1k dataset's folder.
    he_image
        The H&E slide; when not given it is looked for beside the bundle. HEST-1k brings its own.
    he_alignment
        Xenium only: CSV with a 3x3 matrix (H&E px to morphology px) or with Xenium Explorer keypoints, Explorer's
        export zip, or the word ``identity``; when not given it is looked for beside the bundle.
    sample
        Name for messages and provenance; the bundle's folder, or the HEST id, when not given.
    **options
        ``tissue`` (str); ``he_um_per_px`` (float: the H&E pixel size that holds where alignment and metadata
        disagree); ``pixel_size_tolerance`` (share, 0.02); ``checksums`` (bool, SHA-256 of the sources into the
        provenance, True); ``id`` (HEST: which sample of the dataset); ``min_qv`` (HEST: transcripts below are not
        counted, 20).

    Returns
    -------
    The sample, coordinates in he_px.

    Raises
    ------
    UserError
        In one sentence that names the sample and the file, for whatever cannot be read, does not fit together or
        would have to be guessed.
    """
    if platform not in _READERS:
        raise UserError(f"sample {sample or path}: platform {platform!r} is none of {', '.join(_READERS)}")
    path = Path(path)
    name = sample or str(options.get("id") or path.resolve().name)
    try:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; give the {platform} output folder")
        return _READERS[platform](path, he_image, he_alignment, name=name, **options)
    except UserError as error:
        raise UserError(f"sample {name}: {error}") from error.__cause__

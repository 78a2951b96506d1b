"""Inputs of a sample: what the user named, and the H&E slide and alignment looked for beside the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stnuclei.errors import UserError

_HE = (
    "*he_image*.ome.tif",
    "*he_image*.ome.tiff",
    "*he_image*.tif",
    "*he_image*.tiff",
    "*he_image*.svs",
    "*he_image*.ndpi",
)
_ALIGNMENT = ("*he_imagealignment*.csv", "*he*alignment*.zip", "*he*keypoints*.csv")


@dataclass(frozen=True)
class SampleInputs:
    """Inputs of one sample of any platform.

    Parameters
    ----------
    path
        The run's folder, the dataset's, or the store.
    name
        What messages and the provenance call the sample.
    he_image, he_alignment
        The H&E slide and its alignment, None where they are to be looked for.
    tissue
        Organ, a name of the marker tables' tissue map.
    he_um_per_px
        The H&E pixel size that holds where sources disagree; None: they must agree.
    pixel_size_tolerance
        Largest relative difference of two pixel sizes that are taken to agree.
    nuclei, counts
        Nuclei segmented anew and what they are counted from; see `stnuclei.io.resegmentation.resegment`.
    checksums
        Whether the SHA-256 of the sources goes into the provenance.
    """

    path: Path
    name: str
    he_image: str | Path | None = None
    he_alignment: str | Path | None = None
    tissue: str = ""
    he_um_per_px: float | None = None
    pixel_size_tolerance: float = 0.02
    checksums: bool = True
    nuclei: str | Path | None = None
    counts: str | Path | None = None


def find_he(folder: Path, given: str | Path | None) -> Path:
    """Path of the H&E slide: the one given, else the one in the bundle or beside it.

    Raises
    ------
    UserError
        If there is none, or more than one could be meant.
    """
    return Path(given) if given else _only(folder, _HE, "H&E image (*he_image*.ome.tif)", "he_image")


def find_alignment(folder: Path, given: str | Path | None) -> str | Path:
    """Path of the alignment file, or the word ``identity`` where it was said.

    Raises
    ------
    UserError
        If there is none, or more than one could be meant.
    """
    if given:
        return given
    meaning = "H&E alignment (*he_imagealignment.csv)"
    return _only(
        folder, _ALIGNMENT, meaning, "he_alignment", " (or identity, where the slide lies on the morphology as it is)"
    )


def _only(folder: Path, patterns: tuple[str, ...], meaning: str, column: str, more: str = "") -> Path:
    for searched in (folder, folder.resolve().parent):
        candidates = sorted({path for pattern in patterns for path in searched.glob(pattern) if path.is_file()})
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            names = ", ".join(path.name for path in candidates[:4])
            raise UserError(
                f"{searched}: could mean {len(candidates)} files by {meaning}: {names}; name one in column {column}"
            )
    raise UserError(f"{folder}: no {meaning} in it or beside it; name it in column {column}{more}")

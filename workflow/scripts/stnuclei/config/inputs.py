"""Settings of what is read: samples, downloads, marker originals, tissue, alignment, patches, PanNuke."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from stnuclei.config.model import Count, Distinct, Flag, Fraction, Name, Positive, Settings, WholeNumber
from stnuclei.errors import UserError

#: A slide coarser than the patches by more than this would have its pixels invented.
MOST_ENLARGED = 4.0


#: Pixel size of PanNuke's patches, um.
PANNUKE_UM_PER_PX = 0.25
#: Pixel sizes of patches and networks that differ by less, as a fraction, are one.
ONE_PIXEL_SIZE = 0.02
#: Pixel size of a network, um: at 1 um a lymphocyte is 6 px wide, coarser shows no nuclei.
NetworkPixel = Annotated[float, Field(gt=0, le=1.0)]


class SlidesBlock(Settings, block="slides"):
    """Block ``slides``: reading a sample's slide and counts."""

    copy_image: Flag = Field(
        True, description="false: the store refers to the slide file instead of holding a lossless copy."
    )
    pixel_size_tolerance: Fraction = Field(
        0.02, description="H&E um/px by alignment against metadata: a larger relative difference stops the run."
    )
    min_qv: Annotated[float, Field(ge=0, le=40)] = Field(
        20, description="Transcripts below this quality are not counted (HEST-1k; Xenium brings its matrix for cells)."
    )
    count_in: Literal["cells", "nuclei"] = Field(
        "cells", description="Transcripts of whole cells, or only those over nuclei (Xenium and HEST-1k)."
    )
    on_failure: Literal["stop", "leave_out"] = Field(
        "stop", description="A sample that fails: stop, or leave_out: the run goes on without it, and says so."
    )


class RegionsBlock(Settings, block="regions"):
    """Block ``regions``: regions drawn by hand, column ``regions`` of the samples table."""

    restrict: Annotated[list[Literal["patches", "labels"]], Distinct] = Field(
        ["patches"],
        description="What they restrict: patches, labels (Unknown outside, none malignant in normal tissue).",
    )
    other_names: Annotated[list[Name], Distinct] = Field(
        [], description="Class names that are kept to, beside tumour, normal, exclude and the like."
    )


class HestBlock(Settings, block="hest"):
    """Block ``hest``: downloads of HEST-1k."""

    download: Flag = Field(
        False, description="true: fetch HEST-1k samples that are not there (HF_TOKEN in the environment)."
    )
    revision: Name = Field("main", description="Branch, tag or commit of the dataset.")


class MarkersBlock(Settings, block="markers"):
    """Block ``markers``: originals for ``snakemake rebuild_markers``; empty: as resources/markers/sources.yaml says."""

    panglaodb: str = Field("", description="PanglaoDB's file.")
    cellmarker: str = Field("", description="CellMarker 2.0's file.")
    cancersea: str = Field("", description="CancerSEA's file.")


class TissueBlock(Settings, block="tissue"):
    """Block ``tissue``: the map of tissue, blur and pen marks."""

    um_per_px: Positive = Field(8.0, description="Pixel size of the tissue map, um.")


class AlignmentBlock(Settings, block="alignment"):
    """Block ``alignment``: nuclei from DAPI against haematoxylin."""

    max_shift_um: Positive = Field(
        2.0, description="Nuclei and haematoxylin farther apart than this fail the check, um."
    )
    on_failure: Literal["stop", "flag"] = Field("stop", description="stop, or flag: go on and say so in the report.")
    refine: Literal["none", "translation", "affine"] = Field("none", description="Correct by what the check finds.")


def same_pixels(um: float, other: float) -> bool:
    """True if two pixel sizes, um, are one to a network; a slide within 0.5 % of a size is not resampled to it."""
    return abs(um / other - 1) < ONE_PIXEL_SIZE


class CutSettings(Settings, block="patches"):
    """Block ``patches``: cutting a slide into patches."""

    um_per_px: NetworkPixel = Field(
        0.25, description="Pixel size the network sees, um; a slide within 0.5 % of it is not resampled."
    )
    size: Annotated[int, Field(ge=32, multiple_of=16)] = Field(256, description="Side of a patch, px.")
    stride: Count = Field(256, description="Distance of neighbouring patches, px; smaller makes patches overlap.")
    min_tissue: Fraction = Field(0.05, description="Fraction of a patch that must be tissue.")
    min_nuclei: WholeNumber = Field(
        1, description="Patches of training slides with fewer nuclei are dropped (evaluation keeps them)."
    )
    exclude_blurred: Flag = Field(True, description="Out-of-focus tissue counts as unusable.")
    exclude_pen: Flag = Field(True, description="Pen marks count as unusable.")
    max_artifacts: Fraction = Field(
        0.5, description="A patch with a larger fraction of its tissue unusable is dropped."
    )
    border: Literal["keep", "drop"] = Field("keep", description="Nuclei cut by a patch's edge.")
    compress_image: Flag = Field(False, description="Compress pixels: a tenth smaller, slower to read.")

    def check_slide(self, name: str, um_per_px: float) -> None:
        """Refuse a slide whose pixel size does not go together with the patches'."""
        if not (math.isfinite(um_per_px) and um_per_px > 0):
            raise UserError(f"sample {name}: um/px of the slide must be above 0, not {um_per_px}")
        if um_per_px / self.um_per_px > MOST_ENLARGED:
            raise UserError(
                f"sample {name}: its slide has {um_per_px:g} um/px, patches of {self.um_per_px:g} um/px would be "
                f"enlarged {um_per_px / self.um_per_px:.1f} times; raise patches.um_per_px or give the full-resolution "
                "slide"
            )


class PannukeBlock(Settings, block="pannuke"):
    """Block ``pannuke``: the manually annotated set, folds in their original npy (or npz) layout."""

    path: str = Field("", description="Folder that holds fold_1, fold_2, fold_3; empty: not used.")
    folds: Annotated[list[Count], Distinct] = Field([1, 2, 3], description="Folds that are there.")

"""Do nuclei lie on nuclei: haematoxylin inside them against around them, and the shift that would be best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import shapely
from geopandas import GeoDataFrame

from stnuclei.errors import UserError
from stnuclei.io import Sample
from stnuclei.progress import progress
from stnuclei.quality.orientation import search_orientation
from stnuclei.quality.refine import fit_affine, transform
from stnuclei.quality.report import AlignmentReport
from stnuclei.quality.shift import Correlator, Shift
from stnuclei.quality.tiles import SIDE, WORKING_UM, choose_tiles, contrast, nuclei_in, rasterise, read_tile
from stnuclei.quality.tissue_map import TISSUE, TissueMap

REFINEMENTS = ("none", "translation", "affine")
#: A peak lower than this many standard deviations of the rest is chance.
_SURE, _SURE_TILE = 8.0, 6.5
_REACH_UM = 40.0
_FEWEST_NUCLEI = 50
#: Fewer nuclei than this share darker than their ring cannot be nuclei on nuclei; chance is a half.
_DARKER, _CLEARLY_DARKER = 0.6, 0.85
_COARSE_UM = 6.0


@dataclass(frozen=True)
class Measured:
    """What the tiles say of the nuclei as they lie."""

    tiles: pd.DataFrame
    shared: Shift
    contrast: float
    darker_share: float
    scale: float  # he_px along a working pixel
    um_per_px: float  # of the slide

    @property
    def shift_px(self) -> tuple[float, float]:
        """Shared shift (x, y), he_px."""
        return self.shared.x * self.scale, self.shared.y * self.scale

    @property
    def shift_um(self) -> tuple[float, float]:
        """Shared shift (x, y), um."""
        return self.shift_px[0] * self.um_per_px, self.shift_px[1] * self.um_per_px

    @property
    def affine(self) -> dict[str, Any] | None:
        """What the tiles that are sure of their shift say together; see `fit_affine`."""
        return fit_affine(self.tiles, self.um_per_px)

    @property
    def n_nuclei(self) -> int:
        """Nuclei compared with their surroundings."""
        return int(self.tiles["n_nuclei"].sum()) if len(self.tiles) else 0


def check_alignment(
    sample: Sample,
    tissue_map: TissueMap | None = None,
    *,
    max_shift_um: float = 2.0,
    refine: str = "none",
    max_tiles: int = 120,
    seed: int = 0,
) -> AlignmentReport:
    """Check that the nuclei segmented on DAPI lie on the nuclei of the H&E.

    On up to `max_tiles` tiles of 256 um, at 0.5 um a pixel: haematoxylin density (colour deconvolution) inside each
    nucleus and in a ring of 2 um around it, and the phase correlation of nucleus mask and density, over all tiles and
    per tile. Where that shows no match, the eight turns and mirrors are tried on the whole slide.

    Parameters
    ----------
    sample
        Slide and nuclei.
    tissue_map
        Only nuclei on clean tissue are looked at; None: all.
    max_shift_um
        The check fails above it, over the slide or for most tiles.
    refine
        ``none``; ``translation`` or ``affine``: write the one found as the correction, and judge what it leaves.
    max_tiles
        How many tiles are looked at.
    seed
        Of the draw of tiles.

    Returns
    -------
    The finding; it does not raise on a bad alignment, it says so.

    Raises
    ------
    UserError
        If `refine` is unknown.
    """
    if refine not in REFINEMENTS:
        raise UserError(f"alignment.refine: {refine!r} is none of {', '.join(REFINEMENTS)}")
    white = np.array(tissue_map.info["glass"]) if tissue_map and "glass" in tissue_map.info else 245.0
    look = {"tissue": tissue_map, "most": max_tiles, "seed": seed, "white": white}
    found = measure(sample, sample.nuclei, **look)
    best = _best(sample, found, look)
    correction, kept = np.eye(3), found
    if refine != "none" and _believable(found, best):
        correction = _correction(refine, found)
        kept = measure(sample, transform(sample.nuclei, correction), **look)
    passed, message = judge(sample.name, kept, best if kept is found else kept, max_shift_um)
    details: dict[str, Any] = {
        "max_shift_um": max_shift_um,
        "certainty": found.shared.certainty,
        "n_tiles": len(found.tiles),
        "n_nuclei": found.n_nuclei,
        "nuclei_on_tissue": _on_tissue(sample, tissue_map),
        "affine": found.affine,
        "darker_share_at_best_shift": best.darker_share,
        "refine": refine,
    }
    if kept is not found:
        names = ("shift_um", "shift_px", "darker_share", "contrast")
        details["after_correction"] = {name: getattr(kept, name) for name in names}
        message += f" (after correction by {refine}; it was {np.hypot(*found.shift_um):.2f} um)"
    if not passed and not _believable(found, best) and found.n_nuclei >= _FEWEST_NUCLEI:
        details["orientation"], hint = _orientation(sample, look)
        message += hint
    return AlignmentReport(
        sample.name,
        passed,
        message,
        found.shift_um,
        found.shift_px,
        contrast=found.contrast,
        darker_share=found.darker_share,
        details=details,
        correction=correction,
        tiles=kept.tiles,
        _picture={"sample": sample, "tissue": tissue_map, "correction": correction},
    )


def _best(sample: Sample, found: Measured, look: dict[str, Any]) -> Measured:
    """The nuclei where they would fit best: as they lie, shifted, or moved by the affine their tiles agree on.

    Edges of tissue make peaks too; only where nuclei become darker than their surroundings is a shift one of nuclei.
    """
    if found.darker_share >= _CLEARLY_DARKER or not len(found.tiles):
        return found
    moves = [_correction(kind, found) for kind in ("translation", "affine")]
    tried = [measure(sample, transform(sample.nuclei, matrix), **look) for matrix in moves]
    return max([found, *tried], key=lambda one: one.darker_share)


def _believable(found: Measured, best: Measured) -> bool:
    """Whether the shift that was found is one of nuclei."""
    return found.shared.certainty >= _SURE and best.darker_share >= _DARKER


def measure(
    sample: Sample,
    nuclei: GeoDataFrame,
    *,
    tissue: TissueMap | None,
    most: int,
    seed: int,
    white: np.ndarray | float,
) -> Measured:
    """Measure contrast and shift of nuclei (he_px) on a sample's slide; see `check_alignment`."""
    grid = choose_tiles(sample, nuclei, tissue, most, seed)
    polygons = nuclei.geometry.to_numpy()
    correlator = Correlator(SIDE, _COARSE_UM / WORKING_UM)
    rows = []
    for corner in progress(grid.corners, label="tiles looked at", unit="tiles"):
        labels = rasterise(polygons[nuclei_in(nuclei, corner, grid.side)], corner, grid.scale)
        _, density = read_tile(sample, corner, white)
        difference, darker, n = contrast(labels, density)
        shift = correlator.add((labels > 0).astype(np.float32), density)
        um = grid.scale * sample.um_per_px
        rows.append((*(corner + grid.side / 2), n, difference, darker, shift.x * um, shift.y * um, shift.certainty))
    names = ["x", "y", "n_nuclei", "contrast", "darker_share", "shift_x_um", "shift_y_um", "certainty"]
    tiles = pd.DataFrame(rows, columns=names).astype({"n_nuclei": int})
    tiles["sure"] = tiles["certainty"] >= _SURE_TILE
    shared = correlator.shift(int(_REACH_UM / WORKING_UM)) if rows else Shift(0.0, 0.0, 0.0)
    weight = tiles["n_nuclei"].to_numpy()
    mean = {
        k: float(np.average(tiles[k], weights=weight)) if weight.sum() else 0.0 for k in ("contrast", "darker_share")
    }
    return Measured(tiles, shared, mean["contrast"], mean["darker_share"], grid.scale, sample.um_per_px)


def judge(name: str, found: Measured, best: Measured, max_shift_um: float) -> tuple[bool, str]:
    """Whether nuclei lie on nuclei, and the sentence that says so; `best` is where they would fit best."""
    if found.n_nuclei < _FEWEST_NUCLEI:
        return False, (
            f"sample {name}: only {found.n_nuclei} nuclei lie on clean tissue, too few to check the alignment"
        )
    if not _believable(found, best):
        return False, (
            f"sample {name}: nuclei do not lie on the slide's nuclei, and no shift within {_REACH_UM:.0f} um "
            f"makes them ({100 * found.darker_share:.0f} % are darker than their surroundings; chance is 50 %)"
        )
    um = float(np.hypot(*found.shift_um))
    told = f"{um:.2f} um over {len(found.tiles)} tiles, {100 * found.darker_share:.0f} % darker than their surroundings"
    bent = _bent(found.affine)
    if um > max_shift_um:
        return (
            False,
            f"sample {name}: nuclei lie {um:.2f} um beside the slide's nuclei{bent} (limit {max_shift_um:g} um)",
        )
    affine = found.affine
    if affine and affine["largest_um"] > max_shift_um:
        return False, (
            f"sample {name}: nuclei lie up to {affine['largest_um']:.2f} um beside the slide's nuclei{bent} "
            f"(limit {max_shift_um:g} um)"
        )
    sure = found.tiles[found.tiles["sure"]]
    off = float((np.hypot(sure["shift_x_um"], sure["shift_y_um"]) > max_shift_um).mean()) if len(sure) else 0.0
    if off > 0.5:
        return False, (
            f"sample {name}: nuclei lie beside the slide's nuclei in {100 * off:.0f} % of the tiles, each its own way "
            f"(limit {max_shift_um:g} um): warped?"
        )
    return True, f"sample {name}: nuclei lie on nuclei ({told})"


def _bent(affine: dict[str, Any] | None) -> str:
    """Turn and stretch of the nuclei against the slide in words, where there is any."""
    if affine is None:
        return ""
    turn, stretch = -affine["rotation_deg"], 1 / affine["scale"] - 1
    words = [f"turned by {turn:.2f} degrees"] if abs(turn) > 0.05 else []
    words += [f"stretched by {100 * stretch:+.2f} %"] if abs(stretch) > 0.002 else []
    return f", {' and '.join(words)}" if words else ""


def _correction(refine: str, found: Measured) -> np.ndarray:
    """The correction asked for; a translation where the tiles do not carry an affine."""
    affine = found.affine
    if refine == "affine" and affine is not None:
        return np.array(affine["matrix"])
    correction = np.eye(3)
    correction[:2, 2] = found.shift_px
    return correction


def _on_tissue(sample: Sample, tissue: TissueMap | None) -> float | None:
    if tissue is None:
        return None
    centre = shapely.get_coordinates(shapely.centroid(sample.nuclei.geometry.to_numpy()))
    return float(np.mean(tissue.at(centre) == TISSUE))


def _orientation(sample: Sample, look: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Whether the nuclei would fit turned or mirrored; believed only where single nuclei then fit."""
    none = "; no turn or mirror of the slide fits either: is it the H&E of this run?"
    best = search_orientation(sample, look["white"])
    matrix = np.array(best["matrix"])
    turned = measure(sample, transform(sample.nuclei, matrix), **look)
    best |= {"certainty": turned.shared.certainty, "fits": False}
    if turned.shared.certainty < _SURE:
        return best, none
    matrix = _correction("affine", turned) @ matrix
    turned = measure(sample, transform(sample.nuclei, matrix), **look)
    best |= {"matrix": matrix.tolist(), "darker_share": turned.darker_share}
    best["fits"] = turned.shared.certainty >= _SURE and turned.darker_share >= _DARKER
    return best, f"; they would fit {best['name']}: correct the alignment file" if best["fits"] else none

"""Check of the registration of nuclei: haematoxylin inside them against around them, and the best shift."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from stnuclei.errors import UserError
from stnuclei.io import Sample
from stnuclei.quality.alignment_report import AlignmentReport
from stnuclei.quality.orientation import search_orientation
from stnuclei.quality.registration import REACH_UM, Measured, ShiftScorer, believable, correction_of
from stnuclei.quality.tissue_map import TISSUE, TissueMap

REFINEMENTS = ("none", "translation", "affine")
_FEWEST_NUCLEI = 50


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
        ``none``; ``translation`` or ``affine``: write the one measured as the correction, and judge what it leaves.
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
    measured = (scorer := ShiftScorer(sample, tissue_map, max_tiles, seed)).measure(sample.nuclei)
    best = scorer.best(measured)
    correction, kept = np.eye(3), measured
    if refine != "none" and believable(measured, best):
        correction = correction_of(refine, measured)
        kept = scorer.moved(correction)
    passed, message = judge(sample.name, kept, best if kept is measured else kept, max_shift_um)
    details = {"max_shift_um": max_shift_um, "refine": refine, **_details(measured, best)}
    details["nuclei_on_tissue"] = _on_tissue(sample, tissue_map)
    if kept is not measured:
        names = ("shift_um", "shift_px", "darker_fraction", "contrast")
        details["after_correction"] = {name: getattr(kept, name) for name in names}
        message += f" (after correction by {refine}; it was {np.hypot(*measured.shift_um):.2f} um)"
    if not passed and not believable(measured, best) and measured.n_nuclei >= _FEWEST_NUCLEI:
        details["orientation"], hint = _inverted(scorer) or _orientation(scorer)
        message += hint
    elif not passed and refine == "none" and measured.n_nuclei >= _FEWEST_NUCLEI:
        message += _advice(scorer, measured, max_shift_um)
    numbers = (measured.shift_um, measured.shift_px, measured.contrast, measured.darker_fraction)
    return AlignmentReport(sample.name, passed, message, *numbers, details, correction, kept.tiles)


def _details(measured: Measured, best: Measured) -> dict[str, Any]:
    return {
        "certainty": measured.shared.certainty,
        "n_tiles": len(measured.tiles),
        "n_nuclei": measured.n_nuclei,
        "affine": measured.affine,
        "darker_fraction_at_best_shift": best.darker_fraction,
    }


def judge(name: str, measured: Measured, best: Measured, max_shift_um: float) -> tuple[bool, str]:
    """Verdict on whether nuclei lie on nuclei, and the sentence that says so; `best` is where they would fit best."""
    if measured.n_nuclei < _FEWEST_NUCLEI:
        return False, (
            f"sample {name}: only {measured.n_nuclei} nuclei lie on clean tissue, too few to check the alignment"
        )
    if not believable(measured, best):
        return False, (
            f"sample {name}: nuclei do not lie on the slide's nuclei, and no shift within {REACH_UM:.0f} um "
            f"makes them ({100 * measured.darker_fraction:.0f} % are darker than their surroundings; chance is 50 %)"
        )
    um = float(np.hypot(*measured.shift_um))
    darker = f"{100 * measured.darker_fraction:.0f} % darker than their surroundings"
    bent = _bent(measured.affine)
    if um > max_shift_um:
        return (
            False,
            f"sample {name}: nuclei lie {um:.2f} um beside the slide's nuclei{bent} (limit {max_shift_um:g} um)",
        )
    affine = measured.affine
    if affine and affine["largest_um"] > max_shift_um:
        return False, (
            f"sample {name}: nuclei lie up to {affine['largest_um']:.2f} um beside the slide's nuclei{bent} "
            f"(limit {max_shift_um:g} um)"
        )
    sure = measured.tiles[measured.tiles["sure"]]
    off = float((np.hypot(sure["shift_x_um"], sure["shift_y_um"]) > max_shift_um).mean()) if len(sure) else 0.0
    if off > 0.5:
        return False, (
            f"sample {name}: nuclei lie beside the slide's nuclei in {100 * off:.0f} % of the tiles, each its own way "
            f"(limit {max_shift_um:g} um): warped?"
        )
    return True, f"sample {name}: nuclei lie on nuclei ({um:.2f} um over {len(measured.tiles)} tiles, {darker})"


def _bent(affine: dict[str, Any] | None) -> str:
    """Turn and stretch of the nuclei against the slide in words, where there is any."""
    if affine is None:
        return ""
    turn, stretch = -affine["rotation_deg"], 1 / affine["scale"] - 1
    words = [f"turned by {turn:.2f} degrees"] if abs(turn) > 0.05 else []
    words += [f"stretched by {100 * stretch:+.2f} %"] if abs(stretch) > 0.002 else []
    return f", {' and '.join(words)}" if words else ""


def _on_tissue(sample: Sample, tissue: TissueMap | None) -> float | None:
    if tissue is None:
        return None
    centre = shapely.get_coordinates(shapely.centroid(sample.nuclei.geometry.to_numpy()))
    return float(np.mean(tissue.at(centre) == TISSUE))


def _advice(scorer: ShiftScorer, measured: Measured, max_shift_um: float) -> str:
    """Refinement after which the nuclei would fit, as the end of a sentence."""
    for refine in REFINEMENTS[1:]:
        moved = scorer.moved(correction_of(refine, measured))
        if judge("", moved, moved, max_shift_um)[0]:
            return (
                f"; alignment.refine: {refine} corrects that (stnuclei draw-alignment --refine {refine} shows it first)"
            )
    return "; neither a shift nor an affine corrects that: align the slide anew"


def _inverted(scorer: ShiftScorer) -> tuple[dict[str, Any], str] | None:
    """True if the nuclei would fit with the alignment taken the other way round; None where not."""
    matrix = scorer.sample.he_to_morphology
    if matrix is None or np.allclose(matrix, np.eye(3)):
        return None
    # Nuclei lie at inverse(M) @ morphology; M @ M brings them to M @ morphology.
    twice = np.asarray(matrix) @ np.asarray(matrix)
    turned = scorer.moved(twice)
    correction = correction_of("affine", turned) @ twice
    fitted = scorer.moved(correction)
    if turned.n_nuclei < _FEWEST_NUCLEI or not believable(turned, fitted):
        return None
    proposal = {
        "name": "inverted",
        "matrix": correction.tolist(),
        "certainty": turned.shared.certainty,
        "fits": True,
        "darker_fraction": fitted.darker_fraction,
    }
    return proposal, (
        "; they would fit with the alignment taken the other way round: the matrix goes from morphology px to H&E px, "
        "or fixed and moving keypoints are exchanged"
    )


def _orientation(scorer: ShiftScorer) -> tuple[dict[str, Any], str]:
    """Turn or mirroring by which the nuclei would fit; believed only where single nuclei then fit."""
    none = "; no turn or mirror of the slide fits either: is it the H&E of this run?"
    proposal = search_orientation(scorer.sample, scorer.white)
    matrix = np.array(proposal["matrix"])
    turned = scorer.moved(matrix)
    matrix = correction_of("affine", turned) @ matrix
    fitted = scorer.moved(matrix)
    fits = believable(turned, fitted)
    proposal |= {"matrix": matrix.tolist(), "certainty": turned.shared.certainty, "fits": fits}
    proposal["darker_fraction"] = fitted.darker_fraction
    named = (
        f"; they would fit {proposal['name']}: correct the alignment file (stnuclei draw-alignment --refine "
        "orientation draws it first, --repaired writes it)"
    )
    return proposal, named if fits else none

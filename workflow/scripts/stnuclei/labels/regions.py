"""Labels restricted to regions that a person drew on the slide."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stnuclei.io.regions import Regions
from stnuclei.labels.checks import describe_counts
from stnuclei.labels.result import Labels
from stnuclei.taxonomy import Taxonomy


def restrict_labels(
    labels: Labels, xy: np.ndarray, regions: Regions, taxonomy: str | Path | Taxonomy = "pannuke"
) -> Labels:
    """Restrict labels to regions: cells outside become Unknown, and none in normal tissue stays Neoplastic.

    Clusters are left as they are: a cell outside still tells what its cluster expresses.

    Parameters
    ----------
    labels
        Of all cells of the sample.
    xy
        (n_cells, 2) he_px, the cells' centres in the labels' order.
    regions
        From `stnuclei.io.regions.read_regions`.
    taxonomy
        Of the labels: its roles say which class is neoplastic, and which it is where there is no tumour.

    Returns
    -------
    Labels with confidence 0 and no alternatives outside; ``info["regions"]`` counts what was changed.
    """
    taxonomy = Taxonomy.load(taxonomy)
    cells = labels.cells.copy()
    outside = ~regions.contains(xy)
    neoplastic, epithelial = (taxonomy.roles.get(role) for role in ("neoplastic", "epithelial"))
    benign = np.zeros(len(cells), bool)
    if neoplastic and epithelial:
        normal = regions.in_normal(xy) & ~outside
        benign = normal & (cells["label"] == neoplastic).to_numpy()
        cells.loc[benign, "label"] = epithelial
        cells.loc[normal, "alternatives"] = [_without(text, neoplastic) for text in cells.loc[normal, "alternatives"]]
    cells.loc[outside, "label"] = taxonomy.unknown.name
    cells.loc[outside, "confidence"] = np.float32(0)
    cells.loc[outside, "alternatives"] = ""
    counts = {"outside": int(outside.sum()), "normal": int(benign.sum())}
    sentence = f"regions: {counts['outside']:,} of {len(cells):,} cells lie outside and are {taxonomy.unknown.name}"
    if benign.any():
        sentence += f"; {counts['normal']:,} {neoplastic} cells in normal tissue are {epithelial}"
    warnings = [*labels.info.get("warnings", ()), sentence]
    info = labels.info | {"regions": counts, "warnings": warnings, "counts": describe_counts(cells)}
    return Labels(cells, labels.evidence, info)


def _without(alternatives: str, name: str) -> str:
    """Alternatives without a class; none where one alone is left."""
    left = [other for other in alternatives.split("|") if other and other != name]
    return "|".join(left) if len(left) > 1 else ""

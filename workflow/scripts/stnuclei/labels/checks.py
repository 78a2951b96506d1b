"""Panels that cannot be labelled, doubts about a finished label set, in sentences, and its cells by label."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from stnuclei.errors import UserError
from stnuclei.labels.registry import LabelContext
from stnuclei.labels.result import undecided
from stnuclei.markers.markers import Markers
from stnuclei.markers.organ_fit import better_organ

# Tables of fewer labelled cells may lack a lineage, or normal epithelium, by chance.
FEW_CELLS = 200
# Fewer epithelial cells than this fraction of the epithelium count as none.
HARDLY_ANY = 0.01


def check_symbols(panel: Sequence[str], markers: Markers) -> None:
    """Refuse a panel without a single gene symbol, which every method by markers would call Unknown throughout.

    Raises
    ------
    UserError
        If no name is a symbol, an alias or a gene of the marker tables.
    """
    marked = set(markers.rows["symbol"])
    if not any(name in marked or markers.symbols.knows(name) for name in panel):
        raise UserError(
            f"none of the table's {len(panel):,} genes ({', '.join(panel[:3])}, ...) is a gene symbol; give symbols "
            "such as EPCAM as the names of its variables, not Ensembl ids"
        )


def label_doubts(cells: pd.DataFrame, panel: Sequence[str], context: LabelContext) -> list[str]:
    """Sentences about a label set that a person should read before trusting it.

    Parameters
    ----------
    cells
        `Labels.cells`.
    panel
        Gene names of the table.
    context
        Tissue, markers, taxonomy and disease.

    Returns
    -------
    Doubts: epithelium that is malignant as a whole, a lineage without a cell, a panel made for another organ
    or written as mouse genes are.
    """
    counts = cells["label"].value_counts()
    doubts = [_all_neoplastic(counts, context), *_missing(counts, context), _other_organ(panel, context)]
    doubts.append(_mouse_names(panel, context.markers))
    return [doubt for doubt in doubts if doubt]


def _all_neoplastic(counts: pd.Series, context: LabelContext) -> str:
    epithelial, neoplastic = (context.taxonomy.role(role) for role in ("epithelial", "neoplastic"))
    if epithelial is None or neoplastic is None:
        return ""
    normal, malignant = int(counts.get(epithelial, 0)), int(counts.get(neoplastic, 0))
    if malignant < FEW_CELLS or normal > HARDLY_ANY * (normal + malignant):
        return ""
    advice = "" if context.disease == "cancer" else "; give the sample's disease, and look at the slide"
    return (
        f"the whole epithelium is {neoplastic}: {malignant:,} cells against {normal:,} {epithelial}; normal glands or "
        f"ducts on this slide would be called {neoplastic} too{advice}"
    )


def _missing(counts: pd.Series, context: LabelContext) -> list[str]:
    """One sentence a lineage without a cell; epithelial and neoplastic cells are one lineage."""
    taxonomy = context.taxonomy
    if counts.drop(taxonomy.unknown.name, errors="ignore").sum() < FEW_CELLS:
        return []
    roles = [taxonomy.role(role) for role in ("epithelial", "neoplastic")]
    epithelium = tuple(name for name in roles if name)
    lineages: dict[str, tuple[str, ...]] = {
        name: (name,) for name in context.markers.categories if name not in epithelium
    }
    if epithelium:
        lineages[" or ".join(epithelium)] = epithelium
    return [
        f"no cell is {name}: this lineage is missing on the slide, on the panel, or from the labels"
        for name, members in lineages.items()
        if not any(counts.get(member, 0) for member in members)
    ]


def _mouse_names(panel: Sequence[str], markers: Markers) -> str:
    known = markers.symbols.approved
    mouse = [name for name in panel if name not in known and name == name.capitalize() and name.upper() in known]
    if len(mouse) <= len(panel) / 2:
        return ""
    return (
        f"{len(mouse):,} of {len(panel):,} genes are written as mouse genes are ({', '.join(mouse[:3])}, ...) and read "
        "as the human genes of the same letters: markers and the evidence of malignancy are human"
    )


def _other_organ(panel: Sequence[str], context: LabelContext) -> str:
    organ = better_organ(context.markers, panel, context.tissue)
    if not organ:
        return ""
    return (
        f"the panel's genes fit {organ} better than {context.tissue}: is the tissue right? Markers of another organ "
        "make normal epithelium look malignant"
    )


def describe_counts(cells: pd.DataFrame) -> str:
    """Cells by label in words, most first, and the undecided ones by their alternatives."""
    counts = cells["label"].value_counts()
    text = f"{len(cells):,} cells: " + ", ".join(f"{n:,} {name}" for name, n in counts.items())
    among = cells.loc[undecided(cells), "alternatives"].value_counts() if "alternatives" in cells else pd.Series()
    listed = ", ".join(f"{n:,} {names.replace('|', ' or ')}" for names, n in among.items())
    return f"{text}; undecided among them: {listed}" if listed else text

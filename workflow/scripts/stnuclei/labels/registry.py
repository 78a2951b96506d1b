"""The labelling methods by name: how a method's module makes itself known."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from stnuclei.errors import UserError
from stnuclei.markers.markers import Markers
from stnuclei.taxonomy import Taxonomy

if TYPE_CHECKING:
    from stnuclei.labels.result import Labels


@dataclass(frozen=True)
class LabelContext:
    """What a method may look at besides the counts.

    Parameters
    ----------
    tissue
        Canonical name in the tissue map.
    markers
        Marker facts in the taxonomy's categories.
    taxonomy
        Classes of nuclei.
    clusters
        cell_id (str), cluster (int32, -1 none), one row a cell in the table's order.
    ranked_genes
        cluster, rank (1..), gene, score, pvalue, logfoldchange.
    disease
        What the samples table says of the slide (``normal``, ``tumor``, ...), None where it says nothing.
    seed
        Seed of everything random.
    threads
        Threads a method may use.
    """

    tissue: str
    markers: Markers
    taxonomy: Taxonomy
    clusters: pd.DataFrame
    ranked_genes: pd.DataFrame
    disease: str | None = None
    seed: int = 0
    threads: int = 1


Method = Callable[..., "Labels"]
_METHODS: dict[str, Method] = {}
# Where each shipped method lives: imported when asked for, since some bring heavy libraries.
_SHIPPED = {
    "stnuclei": "stnuclei.labels.evidence.model",
    "paper": "stnuclei.labels.paper.method",
    "paper_no_refinement": "stnuclei.labels.paper.method",
    "topdown": "stnuclei.labels.baselines.topdown",
    "ucell": "stnuclei.labels.baselines.ucell",
    "aucell": "stnuclei.labels.baselines.aucell",
    "cellassign": "stnuclei.labels.baselines.cellassign",
}


def register(name: str, function: Method) -> Method:
    """Make a method known under `name`; its signature is ``(adata, context, **settings) -> Labels``."""
    _METHODS[name] = function
    return function


def find_method(name: str) -> Method:
    """Give the method of a name.

    Raises
    ------
    UserError
        If no method is registered under it.
    """
    if name not in methods():
        raise UserError(f"label method {name!r} is not known; choose one of {', '.join(methods())}")
    if name not in _METHODS:
        importlib.import_module(_SHIPPED[name])
    return _METHODS[name]


def methods() -> tuple[str, ...]:
    """Names of the shipped methods, then those registered besides."""
    return (*_SHIPPED, *sorted(set(_METHODS) - set(_SHIPPED)))


def check_settings(name: str, function: Method, settings: Iterable[str]) -> None:
    """Refuse settings the method does not have.

    Raises
    ------
    UserError
        Naming the setting and those that exist.
    """
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = list(parameters)[2:]
    for key in settings:
        if key not in known:
            raise UserError(f"label method {name!r} has no setting {key!r}; it has: {', '.join(known) or 'none'}")

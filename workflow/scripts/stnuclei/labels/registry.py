"""Registry of the labelling methods: name -> function, and the settings each accepts."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from stnuclei.config.labels import METHODS
from stnuclei.errors import UserError
from stnuclei.markers.markers import Markers
from stnuclei.taxonomy import Taxonomy

if TYPE_CHECKING:
    from stnuclei.labels.result import Labels


@dataclass(frozen=True)
class LabelContext:
    """Information about a sample that methods use besides the counts.

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
        Disease of the slide from the samples table (``normal``, ``cancer``, ...), None where not given.
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
_REGISTERED: dict[str, Method] = {}
_SETTINGS: dict[str, type] = {}


def register(name: str, function: Method, settings: type | None = None) -> Method:
    """Add a method.

    Parameters
    ----------
    name
        Name in the configuration and in file names.
    function
        ``(adata, context, **settings) -> Labels``, or ``(adata, context, settings) -> Labels`` with a settings class.
    settings
        Dataclass of the method's settings.
    """
    _REGISTERED[name] = function
    if settings is not None:
        _SETTINGS[name] = settings
    return function


def find_method(name: str) -> Method:
    """Method registered under a name.

    Raises
    ------
    UserError
        If no method is registered under it.
    """
    if name not in methods():
        raise UserError(f"label method {name!r} is not known; choose one of {', '.join(methods())}")
    if name not in _REGISTERED:
        importlib.import_module(METHODS[name])
    return _REGISTERED[name]


def methods() -> tuple[str, ...]:
    """Names of the shipped methods, then of those registered by the user."""
    return (*METHODS, *sorted(set(_REGISTERED) - set(METHODS)))


def configure(name: str, settings: Mapping[str, Any]) -> Method:
    """Method with its settings bound: a function of ``(adata, context)``.

    Raises
    ------
    UserError
        If the method or one of its settings is not known; the message names those that exist.
    """
    function = find_method(name)
    parameters = inspect.signature(_SETTINGS.get(name, function)).parameters
    known = list(parameters) if name in _SETTINGS else list(parameters)[2:]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in settings:
        if key not in known and not open_ended:
            raise UserError(f"label method {name!r} has no setting {key!r}; it has: {', '.join(known) or 'none'}")
    if name in _SETTINGS:
        return functools.partial(function, settings=_SETTINGS[name](**settings))
    return functools.partial(function, **settings)

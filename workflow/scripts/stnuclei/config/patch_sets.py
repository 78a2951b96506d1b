"""Which patch sets there are, and which of them a model is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stnuclei.errors import UserError


@dataclass(frozen=True)
class PatchSet:
    """Patches with one label set: ``results/samples/{name}/patches.zarr`` and ``labels/{labels}.parquet``."""

    name: str
    labels: str


def patch_sets(config: Mapping[str, Any], samples: pd.DataFrame) -> list[str]:
    """Names of all patch sets: the samples, and ``pannuke_{fold}`` where PanNuke is used."""
    folds = config["pannuke"]["folds"] if config["pannuke"]["path"] else []
    return [*samples["sample"], *(f"pannuke_{fold}" for fold in folds)]


def expand_sources(
    entries: Iterable[Mapping[str, Any]], config: Mapping[str, Any], samples: pd.DataFrame, where: str
) -> list[PatchSet]:
    """Patch sets of a model's ``train`` or ``validation`` list.

    Parameters
    ----------
    entries
        ``{samples: SPLIT or [names], labels: METHOD}`` or ``{pannuke: [folds]}``.
    config, samples
        The configuration and the samples table.
    where
        The list's place in the configuration, for messages.

    Raises
    ------
    UserError
        If a split, a sample or a fold is not there.
    """
    sets: list[PatchSet] = []
    for number, entry in enumerate(entries):
        place = f"{where}[{number}]"
        if "pannuke" in entry:
            sets += [_fold(fold, config, place) for fold in entry["pannuke"]]
        else:
            names = _names(entry["samples"], samples, place)
            sets += [PatchSet(name, entry["labels"]) for name in names]
    return sets


def _fold(fold: int, config: Mapping[str, Any], place: str) -> PatchSet:
    if not config["pannuke"]["path"]:
        raise UserError(f"{place}.pannuke: names fold {fold}, but pannuke.path is empty; set it to PanNuke's folder")
    if fold not in config["pannuke"]["folds"]:
        raise UserError(f"{place}.pannuke: fold {fold} is not in pannuke.folds {config['pannuke']['folds']}")
    return PatchSet(f"pannuke_{fold}", "manual")


def _names(wanted: str | list[str], samples: pd.DataFrame, place: str) -> list[str]:
    if isinstance(wanted, str):
        return list(samples.loc[samples["split"] == wanted, "sample"])
    absent = [name for name in wanted if name not in samples.index]
    if absent:
        raise UserError(f"{place}.samples: {', '.join(absent)} not in the samples table")
    return list(wanted)


def label_methods(config: Mapping[str, Any]) -> list[str]:
    """Label methods that are asked for, by ``labels.methods`` or by a model."""
    methods = list(config["labels"]["methods"])
    for model in config["models"].values():
        for entry in (*model["train"], *model.get("validation", ())):
            if "samples" in entry and entry["labels"] not in methods:
                methods.append(entry["labels"])
    return methods

"""Patch sets of a configuration, and those that a model is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stnuclei.config.inputs import PANNUKE_UM_PER_PX, same_pixels
from stnuclei.errors import UserError, refuse

#: A set of more tissues is not named after each of them.
_NAMED_TISSUES = 3


@dataclass(frozen=True)
class PatchSet:
    """Patches with one label set: ``results/samples/{name}/patches.zarr`` and ``labels/{labels}.parquet``.

    Parameters
    ----------
    name
        Sample, or ``pannuke_{fold}`` with tissues behind it.
    labels
        Label method, or ``manual``.
    tissues
        Of PanNuke: only patches of these; empty: all.
    """

    name: str
    labels: str
    tissues: tuple[str, ...] = ()


def fold_of(name: str) -> int | None:
    """PanNuke's fold that a patch set is of, whatever its tissues; None for a sample."""
    return int(name.split("_")[1]) if name.startswith("pannuke_") else None


def fold_set(fold: int, tissues: Iterable[str] = ()) -> PatchSet:
    """Patch set of a fold, ``pannuke_2``, or of some of its tissues, ``pannuke_2_breast_colon``."""
    chosen = tuple(sorted(tissues))
    words = ["".join(filter(str.isalnum, tissue.casefold())) for tissue in chosen]
    if len(words) > _NAMED_TISSUES:
        words = [f"{len(words)}tissues", hashlib.sha256("_".join(words).encode()).hexdigest()[:6]]
    return PatchSet("_".join(["pannuke", str(fold), *words]), "manual", chosen)


def patch_sets(config: Mapping[str, Any], samples: pd.DataFrame) -> list[str]:
    """Names of all patch sets: the samples, and those of PanNuke where it is used."""
    return [*samples["sample"], *(patch_set.name for patch_set in pannuke_sets(config))]


def learners(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Entries of all that is trained on patch sets: models and classifiers."""
    return [*config["models"].values(), *config.get("classifiers", {}).values()]


def pannuke_sets(config: Mapping[str, Any]) -> list[PatchSet]:
    """All folds of PanNuke where it is used, and the tissues of folds that models name."""
    folds = config["pannuke"]["folds"] if config["pannuke"]["path"] else []
    sets = [fold_set(fold) for fold in folds]
    for model in learners(config):
        for entry in (source for role in ("train", "validation", "test") for source in model.get(role, ())):
            if entry.get("tissues"):
                sets += [fold_set(fold, entry["tissues"]) for fold in entry["pannuke"]]
    return list(dict.fromkeys(sets))


def check_pixel_sizes(config: Mapping[str, Any], segmenting: Iterable[str]) -> None:
    """Refuse pixel sizes that differ between what a model learns from and what it is shown.

    Parameters
    ----------
    config
        The configuration.
    segmenting
        Models trained here that segment slides.

    Raises
    ------
    UserError
        With one line a problem.
    """
    um, seen = config["patches"]["um_per_px"], config["segmentation"]["network_um_per_px"]
    roles = ("train", "validation", "test")
    folds = any("pannuke" in source for model in learners(config) for role in roles for source in model.get(role, ()))
    problems = []
    if folds and not same_pixels(um, PANNUKE_UM_PER_PX):
        problems.append(
            f"patches.um_per_px: {um:g}, but PanNuke's patches have {PANNUKE_UM_PER_PX:g} um/px, and models would see "
            f"both; take {PANNUKE_UM_PER_PX:g}, or leave PanNuke out of models"
        )
    names = sorted(set(segmenting))
    if names and not same_pixels(um, seen):
        problems.append(
            f"segmentation.network_um_per_px: {seen:g}, but {', '.join(names)} learn from patches of {um:g} um/px "
            "(patches.um_per_px); set both to one size"
        )
    refuse("the configuration", problems)


def expand_sources(
    entries: Iterable[Mapping[str, Any]], config: Mapping[str, Any], samples: pd.DataFrame, where: str
) -> list[PatchSet]:
    """Patch sets of a model's ``train`` or ``validation`` list.

    Parameters
    ----------
    entries
        ``{samples: SPLIT or [names], labels: METHOD}`` or ``{pannuke: [folds], tissues: [names]}``.
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
        key = f"{where}[{number}]"
        if "pannuke" in entry:
            sets += [_fold(fold, entry.get("tissues") or (), config, key) for fold in entry["pannuke"]]
        else:
            names = _names(entry["samples"], samples, key)
            if entry["labels"] == "own":
                _check_own(names, samples, key)
            sets += [PatchSet(name, entry["labels"]) for name in names]
    return sets


def _fold(fold: int, tissues: Iterable[str], config: Mapping[str, Any], key: str) -> PatchSet:
    if not config["pannuke"]["path"]:
        raise UserError(f"{key}.pannuke: names fold {fold}, but pannuke.path is empty; set it to PanNuke's folder")
    if fold not in config["pannuke"]["folds"]:
        raise UserError(f"{key}.pannuke: fold {fold} is not in pannuke.folds {config['pannuke']['folds']}")
    return fold_set(fold, tissues)


def _names(wanted: str | list[str], samples: pd.DataFrame, key: str) -> list[str]:
    if isinstance(wanted, str):
        return list(samples.loc[samples["split"] == wanted, "sample"])
    absent = [name for name in wanted if name not in samples.index]
    if absent:
        raise UserError(f"{key}.samples: {', '.join(absent)} not in the samples table")
    return list(wanted)


def _check_own(names: Iterable[str], samples: pd.DataFrame, key: str) -> None:
    """Refuse a model that would learn from labels nobody gave."""
    without = [name for name in names if not samples.loc[name, "labels"]]
    if without:
        raise UserError(
            f"{key}.labels: own takes the samples table's column labels, which is empty for {', '.join(without)}"
        )


def label_methods(config: Mapping[str, Any]) -> list[str]:
    """Label methods that are asked for, by ``labels.methods`` or by a model."""
    methods = list(config["labels"]["methods"])
    for model in learners(config):
        for entry in (*model["train"], *model.get("validation", ())):
            if "samples" in entry and entry["labels"] not in methods:
                methods.append(entry["labels"])
    return methods

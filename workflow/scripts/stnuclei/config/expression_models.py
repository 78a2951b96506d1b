"""The configuration's ``expression`` block: which baselines there are and what each is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stnuclei.errors import UserError, refuse


@dataclass(frozen=True)
class Baseline:
    """One model of the single-patch baseline.

    Parameters
    ----------
    name
        Its key in the configuration.
    protocol
        ``single_donor`` or ``multi_donor``.
    samples, cross_tissue
        Slides it is trained and tested on; slides of other tissues it is only tested on.
    held_out
        Donors to test on; empty: drawn by the seed.
    training
        Its settings, the common ones under its own, with its seed.
    tissues
        Of `samples`.
    """

    name: str
    protocol: str
    samples: tuple[str, ...]
    cross_tissue: tuple[str, ...]
    held_out: tuple[str, ...]
    training: dict[str, Any]
    tissues: tuple[str, ...]


def expression_slides(config: Mapping[str, Any], samples: pd.DataFrame) -> pd.DataFrame:
    """Slides that a baseline may name: the samples and the configured spots.

    Returns
    -------
    Index = name; columns tissue, donor, kind (``samples`` or ``spots``: the folder of its results).

    Raises
    ------
    UserError
        If spots have the name of a sample.
    """
    xenium = pd.DataFrame(
        {"tissue": samples["tissue"], "donor": samples["donor"], "kind": "samples"}, index=samples.index
    )
    spots = config["expression"]["spots"]
    for name in spots:
        if name in xenium.index:
            raise UserError(f"expression.spots.{name}: a sample of the samples table is called so; choose another name")
    rows = {name: [entry["tissue"], entry.get("donor", ""), "spots"] for name, entry in spots.items()}
    table = pd.concat([xenium, pd.DataFrame.from_dict(rows, orient="index", columns=list(xenium.columns))])
    table["donor"] = table["donor"].where(table["donor"] != "", table.index)
    return table


def expression_models(config: Mapping[str, Any], samples: pd.DataFrame) -> dict[str, Baseline]:
    """The configured baselines, checked.

    Parameters
    ----------
    config, samples
        The configuration and the samples table.

    Returns
    -------
    Name -> `Baseline`; empty where none is configured.

    Raises
    ------
    UserError
        With one line a problem: slides or donors that are not there, protocols that do not go with the donors, cross
        tissues that are the model's own.
    """
    slides = expression_slides(config, samples)
    problems: list[str] = []
    models = {
        name: _model(name, entry, config, samples, slides, problems)
        for name, entry in config["expression"]["models"].items()
    }
    refuse("the configuration", problems)
    return models


def _model(
    name: str,
    entry: Mapping[str, Any],
    config: Mapping[str, Any],
    samples: pd.DataFrame,
    slides: pd.DataFrame,
    problems: list[str],
) -> Baseline:
    key = f"expression.models.{name}"
    block = config["expression"]
    trained = _slides(entry["samples"], samples, slides, f"{key}.samples", problems)
    cross = _slides(entry.get("cross_tissue", []), samples, slides, f"{key}.cross_tissue", problems)
    held_out, protocol = tuple(entry.get("held_out", [])), entry["protocol"]
    donors, tissues = sorted(set(slides.loc[trained, "donor"])), sorted(set(slides.loc[trained, "tissue"]))
    if trained and protocol == "single_donor" and len(donors) > 1:
        problems.append(f"{key}.protocol: single_donor, but its samples are of {', '.join(donors)}")
    if trained and protocol == "multi_donor" and len(donors) < 2:
        problems.append(f"{key}.protocol: multi_donor needs two donors, its samples are all of {donors[0]}")
    if protocol == "single_donor" and held_out:
        problems.append(f"{key}.held_out: single_donor holds out blocks of tissue, no donor; leave it out")
    for donor in held_out:
        if donor not in donors:
            problems.append(f"{key}.held_out: {donor} is no donor of its samples ({', '.join(donors)})")
    for slide in cross:
        if slides.loc[slide, "tissue"] in tissues:
            problems.append(f"{key}.cross_tissue: {slide} is {slides.loc[slide, 'tissue']}, which it is trained on")
    training = {**block["training"], **entry.get("training", {}), "min_counts": block["min_counts"]}
    training["seed"] = entry.get("seed", config["seed"])
    return Baseline(name, protocol, tuple(trained), tuple(cross), held_out, training, tuple(tissues))


def _slides(
    wanted: str | Iterable[str], samples: pd.DataFrame, slides: pd.DataFrame, key: str, problems: list[str]
) -> list[str]:
    if isinstance(wanted, str):
        in_split = list(samples.loc[samples["split"] == wanted, "sample"])
        if not in_split:
            problems.append(f"{key}: no sample of the samples table has the split {wanted}")
        return in_split
    absent = [name for name in wanted if name not in slides.index]
    if absent:
        problems.append(f"{key}: {', '.join(absent)} in neither the samples table nor expression.spots")
    return [name for name in wanted if name in slides.index]

"""No slide, donor or held-out organ on two sides: what a model learns from never stands among what it is scored on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.config.patch_sets import PatchSet, fold_of
from stnuclei.errors import refuse

#: Slides in these splits are scored and never learnt from; one slide may serve both ways of scoring.
EVALUATION = ("seg_eval", "cls_eval")
#: Tissues that are one organ under several names; all others are their own.
ORGANS = {"colon": "bowel", "tonsil": "lymphoid", "lymph node": "lymphoid", "bone marrow": "bone"}
#: The organs of PanNuke's 19 tissues, as the samples table calls them.
PANNUKE_TISSUES = (
    *("Adrenal gland", "Bile duct", "Bladder", "Breast", "Cervix", "Colon", "Esophagus", "Head and neck", "Kidney"),
    *("Liver", "Lung", "Ovarian", "Pancreatic", "Prostate", "Skin", "Stomach", "Testis", "Thyroid", "Uterus"),
)
Sources = Mapping[str, Mapping[str, Sequence[PatchSet]]]


def organ_of(tissue: str) -> str:
    """Name of the organ a tissue belongs to, lower case: Colon and Bowel are one."""
    name = " ".join(tissue.casefold().replace("_", " ").replace("-", " ").split())
    return ORGANS.get(name, name)


def side_of(split: str) -> str:
    """Side of a split: train, val, or evaluation for both ways of scoring."""
    return "evaluation" if split in EVALUATION else split


def table_leaks(table: pd.DataFrame, allowed_donors: Sequence[str] = ()) -> list[str]:
    """Problems of a samples table: one slide twice, one donor on two sides, an organ held out and trained on.

    Parameters
    ----------
    table
        The filled samples table (see `stnuclei.config.samples`).
    allowed_donors
        Donors that may stand on two sides (``evaluation.allow_shared_donors``).

    Returns
    -------
    One sentence a problem, naming samples and column.
    """
    used = table[table["split"] != "none"]
    return [
        *_same_slides(table),
        *_held_out_organs(used),
        *(sentence for donor, sentence in _donors_on_two_sides(used) if _key(donor) not in _keys(allowed_donors)),
        *_idle_permissions(used, allowed_donors),
    ]


def shared_donors(table: pd.DataFrame, allowed: Sequence[str]) -> list[str]:
    """One warning for each donor who stands on two sides because the configuration allows it."""
    used = table[table["split"] != "none"]
    return [
        f"{sentence.split(';')[0]}: evaluation.allow_shared_donors permits it, so scores there are not "
        "those of an unseen donor"
        for donor, sentence in _donors_on_two_sides(used)
        if _key(donor) in _keys(allowed)
    ]


def _key(name: str) -> str:
    return " ".join(name.casefold().split())


def _keys(names: Sequence[str]) -> set[str]:
    return {_key(name) for name in names}


def _same_slides(table: pd.DataFrame) -> Iterator[str]:
    """Rows that name one folder, one H&E file or one sample of HEST-1k under two names."""
    rows = table.to_dict("records")
    for a, b in combinations(rows, 2):
        column = _same(a, b)
        both_scored = {a["split"], b["split"]} == set(EVALUATION)
        if column and a["sample"] != b["sample"] and not both_scored:
            yield (
                f"samples {a['sample']} and {b['sample']}, column {column}: the same slide under two names "
                f"(split {a['split']} and {b['split']}); keep one row"
            )


def _same(a: Mapping[str, str], b: Mapping[str, str]) -> str:
    """Column by which two rows are one slide, empty where they are not; an id left out may be any."""
    ids = {a["hest_id"].casefold(), b["hest_id"].casefold()} - {""}
    if a["path"] and b["path"] and _on_disk(a["path"]) == _on_disk(b["path"]) and len(ids) < 2:
        return "path"
    if a["hest_id"] and a["hest_id"].casefold() == b["hest_id"].casefold():
        return "hest_id"  # two copies of the dataset
    return "he_image" if a["he_image"] and b["he_image"] and _on_disk(a["he_image"]) == _on_disk(b["he_image"]) else ""


def _on_disk(path: str) -> Path:
    return Path(path).expanduser().resolve()


def _held_out_organs(used: pd.DataFrame) -> Iterator[str]:
    learnt = used[used["split"].isin(["train", "val"])]
    organs = dict(zip(learnt["tissue"].map(organ_of), learnt["tissue"], strict=True))
    for row in used[used["split"] == "seg_eval"].itertuples():
        if row.tissue and organ_of(row.tissue) in organs:
            other = organs[organ_of(row.tissue)]
            same = "" if other == row.tissue else f" (the same organ as {row.tissue})"
            yield (
                f"sample {row.sample}, column tissue: seg_eval takes organs never trained on, but {other}{same} is in "
                "train or val"
            )


def _donors_on_two_sides(used: pd.DataFrame) -> Iterator[tuple[str, str]]:
    known = used[used["donor"] != ""]
    for _, group in known.groupby(known["donor"].map(_key), sort=True):
        if group["split"].map(side_of).nunique() > 1:
            donor, splits = group["donor"].iloc[0], " and ".join(sorted(set(group["split"])))
            names = ", ".join(group["sample"])
            yield donor, f"samples {names}, column donor: {donor} is in {splits}; keep one"


def _idle_permissions(used: pd.DataFrame, allowed: Sequence[str]) -> Iterator[str]:
    """A permission that permits nothing is a slip of the pen: the donor meant is still refused or not there."""
    shared = _keys([donor for donor, _ in _donors_on_two_sides(used)])
    for donor in allowed:
        if _key(donor) not in shared:
            yield f"evaluation.allow_shared_donors: {donor!r} is no donor on two sides; take it out"


def model_leaks(sources: Sources, samples: pd.DataFrame, config: Mapping[str, Any], block: str = "models") -> list[str]:
    """Problems of the lists of models or classifiers, which may name slides and folds whatever their split.

    Parameters
    ----------
    sources
        Model -> ``train``, ``validation``, ``test`` -> patch sets.
    samples
        The samples table, index = sample.
    config
        The whole configuration.
    block
        ``models`` or ``classifiers``, for messages.
    """
    return [
        problem
        for name, splits in sources.items()
        for problem in _model_leaks(f"{block}.{name}", splits, samples, config)
    ]


def check_models(sources: Sources, samples: pd.DataFrame, config: Mapping[str, Any], block: str = "models") -> None:
    """Refuse models (or classifiers, by `block`) that would be scored on what they learnt from.

    Raises
    ------
    UserError
        With one line a problem: the list, the slide or fold, and why.
    """
    problems = model_leaks(sources, samples, config, block)
    refuse("the separation of training and evaluation data", problems)


def _model_leaks(
    model: str, splits: Mapping[str, Sequence[PatchSet]], samples: pd.DataFrame, config: Mapping[str, Any]
) -> Iterator[str]:
    names = {role: list(dict.fromkeys(earlier.name for earlier in sets)) for role, sets in splits.items()}
    for role in ("train", "validation"):
        for name in names.get(role, ()):
            if name in samples.index and samples.loc[name, "split"] in EVALUATION:
                split = samples.loc[name, "split"]
                yield f"{model}.{role}: {name} is a slide of split {split}, which no model may learn from"
    for earlier, later in combinations(("train", "validation", "test"), 2):
        # Some tissues of a fold are that fold: whoever learns from them has seen it.
        others = {_words(name) for name in names.get(later, ())}
        for words in dict.fromkeys(_words(name) for name in names.get(earlier, ())):
            if words in others:
                yield f"{model}: {words} is in {earlier} and in {later}; keep one"
    yield from _learnt_donors(model, names, samples, _keys(config["evaluation"].get("allow_shared_donors", ())))
    yield from _learnt_organs(model, splits.get("train", ()), samples, config)


def _words(name: str) -> str:
    fold = fold_of(name)
    return name if fold is None else f"PanNuke's fold {fold}"


def _learnt_donors(
    model: str, names: Mapping[str, list[str]], samples: pd.DataFrame, allowed: set[str]
) -> Iterator[str]:
    """Donors of what is trained on, among the slides it is validated or scored on."""
    rows = samples[samples["donor"] != ""]
    trained = rows[rows["sample"].isin(names.get("train", ()))]
    others = rows[rows["split"].isin(EVALUATION) | rows["sample"].isin(names.get("validation", ()))]
    for row in trained.itertuples():
        for other in others[others["donor"].map(_key) == _key(row.donor)].itertuples():
            if other.sample != row.sample and _key(row.donor) not in allowed:
                yield f"{model}.train: {row.sample} and {other.sample} are of one donor, {row.donor}; keep one"


def _learnt_organs(
    model: str, sets: Sequence[PatchSet], samples: pd.DataFrame, config: Mapping[str, Any]
) -> Iterator[str]:
    """Organs of the training set that are held out; PanNuke's folds bring their own."""
    train = [patch_set.name for patch_set in sets]
    learnt = {organ_of(samples.loc[name, "tissue"]): name for name in train if name in samples.index}
    allowed = {organ_of(tissue) for tissue in config["evaluation"].get("allow_pannuke_organs", ())}
    folds = {organ_of(tissue) for tissue in _fold_tissues(sets, config)} - allowed
    for row in samples[samples["split"] == "seg_eval"].itertuples():
        organ = organ_of(row.tissue)
        if organ in learnt:
            yield (
                f"{model}.train: {learnt[organ]} is of the organ of {row.sample}, {row.tissue}, which seg_eval "
                "holds out"
            )
        if organ in folds:
            yield (
                f"{model}.train: PanNuke's folds hold {row.tissue}, the organ of {row.sample} (seg_eval); take "
                f"another organ, or set evaluation.allow_pannuke_organs: [{row.tissue}], which the tables then say"
            )


def _fold_tissues(sets: Sequence[PatchSet], config: Mapping[str, Any]) -> set[str]:
    """Tissues of the PanNuke folds among patch sets."""
    folds = [fold for fold in sets if fold_of(fold.name) is not None]
    return {tissue for fold in folds for tissue in (fold.tissues or pannuke_tissues(config))}


def pannuke_tissues(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Tissues of the PanNuke folds in use: the simulator's where it makes them."""
    simulated = config.get("simulate", {}).get("pannuke")
    if simulated is not None:
        return tuple(simulated.get("tissues", ("Breast", "Colon", "Kidney")))
    return PANNUKE_TISSUES


def pannuke_organ_warnings(sources: Sources, samples: pd.DataFrame, config: Mapping[str, Any]) -> list[str]:
    """One warning for each held-out organ that PanNuke-trained models have seen because the configuration allows it."""
    allowed = {organ_of(tissue) for tissue in config["evaluation"].get("allow_pannuke_organs", ())}
    seen = {
        model: {organ_of(tissue) for tissue in _fold_tissues(splits.get("train", ()), config)} & allowed
        for model, splits in sources.items()
    }
    warnings = []
    for row in samples[samples["split"] == "seg_eval"].itertuples():
        models = [model for model, organs in seen.items() if organ_of(row.tissue) in organs]
        if models:
            warnings.append(
                f"{row.sample} (seg_eval) is {row.tissue}, an organ of PanNuke's, which {', '.join(models)} learnt "
                "from: evaluation.allow_pannuke_organs permits it"
            )
    return warnings

"""Constants of label methods chosen with each tumour left out.

The default method is chosen in two stages, because lineages do not depend on the constants of malignancy: first those
of `LINEAGE_GRID` by the scores of lineages (epithelial and neoplastic cells are one), then those of `MALIGNANCY_GRID`
by the scores of classes and by normal epithelium called Neoplastic, both by full search. Names with a dot are constants
of modules of `stnuclei.labels.evidence`, which are no settings.

Many combinations are as good as the best: other units do not tell them apart, and the largest mean among them is chance
that lies at an edge as often as not. So all within `TIE` of the best count as tied, and the middle of them is taken: a
threshold then lies between the tumours and the normal epithelium seen, and not beside either.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from hashlib import md5
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from label_bench import EVIDENCE, Bench, score
from labelled_sets import LabelledSet
from malignancy_evidence import Epithelium, tested_epithelium
from stnuclei.config.labels import EvidenceSettings

Grid = Mapping[str, Sequence[Any]]
Constants = dict[str, Any]

# Other constants of the method are no part of the search: `_CHOSEN` is half of `_APART`, two standard deviations.
LINEAGE_GRID: Grid = {
    "prior_rows": (5.0, 10.0, 20.0),
    "unmixing._UNEXPLAINED": (0.1, 0.15, 0.25, 0.4),
    "cluster_weight": (20.0, 50.0, 100.0),
    "overdispersion": (0.05, 0.08, 0.12, 0.2),
}
MALIGNANCY_GRID: Grid = {
    "prior_rows_malignant": (1.0, 3.0, 10.0),
    "malignant_threshold": tuple(np.linspace(-0.8, 1.6, 13).round(1).tolist()),
    "malignant_fraction": (0.1, 0.2, 0.3),
}
# Smallest excess of the best baseline, which is else chosen on the sets it is measured on. Its other choices (the start
# without Epithelial, gene sets, dispersion) were made on them too: about 30 configurations were tried.
CELLASSIGN_GRID: Grid = {
    "min_excess": (0.0, 0.5, 1.0, 2.0),
}
# Of the sum of two scores; another seed of the clusters changes it more.
TIE = 0.005


def combinations(grid: Grid) -> list[Constants]:
    """All combinations of a grid, the first values first."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def middle(grid: list[Constants], tied: np.ndarray) -> int:
    """Row of the tied combinations that has the least sum of grid steps to the others.

    Parameters
    ----------
    grid
        Combinations.
    tied
        (combinations,) bool.
    """
    columns = [np.unique([constants[name] for constants in grid], return_inverse=True)[1] for name in grid[0]]
    steps = np.column_stack(columns)[tied].astype(float)
    return int(np.flatnonzero(tied)[cdist(steps, steps, "cityblock").sum(axis=1).argmin()])


def by_unit(goals: np.ndarray, units: np.ndarray, left_out: str | None) -> np.ndarray:
    """Mean goal over units other than `left_out`, (combinations,).

    Sets are averaged within their unit, so that a tumour with four sections counts once.

    Parameters
    ----------
    goals
        (combinations, sets).
    units
        (sets,) names.
    left_out
        Unit, or None.
    """
    others = [unit for unit in np.unique(units) if unit != left_out]
    return np.mean([goals[:, units == unit].mean(axis=1) for unit in others], axis=0)


def best(grid: list[Constants], goal: np.ndarray) -> Constants:
    """Combination in the middle of those within `TIE` of the largest goal (combinations,)."""
    return grid[middle(grid, goal >= goal.max() - TIE)]


def choose_stnuclei(
    bench: Bench, sections: list[LabelledSet], normal: list[LabelledSet]
) -> dict[str | None, Constants]:
    """Constants of the default method for each unit, chosen on the other units; None: on all (disease empty, seed 0).

    The goal is, for lineages, the mean accuracy + macro F1 of the units' sets; for malignancy, the same of
    classes, less the mean fraction of normal epithelium called Neoplastic in the units' sets without tumour cells.
    There every cell has the class of its group: moving cells by their counts takes time and depends on none of these.
    """
    left_out = [*np.unique([s.unit for s in sections]), None]
    grid = combinations(LINEAGE_GRID)
    units = np.array([s.unit for s in sections])
    goals = _goals(sections, grid, lambda section, constants: sum(bench.score_lineages(section, constants).values()))
    lineage = {left: best(grid, by_unit(goals, units, left)) for left in left_out}
    chosen: dict[str | None, Constants] = {}
    for constants in _distinct(lineage.values()):
        grid = [constants | more for more in combinations(MALIGNANCY_GRID)]
        same = [left for left in left_out if lineage[left] == constants]
        # A unit that alone is left out under these constants is not looked at.
        seen, clear = ([s for s in sets if same != [s.unit]] for sets in (sections, normal))
        goals = np.column_stack([_decided(bench, s, grid)["goal"] for s in seen])
        false = np.column_stack([_decided(bench, s, grid)["false"] for s in clear])
        of_goals, of_false = (np.array([s.unit for s in sets]) for sets in (seen, clear))
        chosen |= {left: best(grid, by_unit(goals, of_goals, left) - by_unit(false, of_false, left)) for left in same}
    return chosen


def shipped_differ(chosen: Constants) -> dict[str, tuple[Any, Any]]:
    """Constants of the default method that are not shipped as chosen: the shipped value and the chosen one."""
    pairs = {name: (_shipped(name), value) for name, value in chosen.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _shipped(name: str) -> Any:
    module, _, constant = name.rpartition(".")
    return getattr(import_module(EVIDENCE + module) if module else EvidenceSettings(), constant)


def choose_cellassign(bench: Bench, sections: list[LabelledSet]) -> dict[str | None, Constants]:
    """Constants of the baseline cellassign in the same way."""
    left_out = [*np.unique([s.unit for s in sections]), None]
    grid, units = combinations(CELLASSIGN_GRID), np.array([s.unit for s in sections])

    def goal(section: LabelledSet, constants: Constants) -> float:
        scores = bench.score(section, "cellassign", constants)
        return scores["accuracy"] + scores["macro F1"]

    goals = _goals(sections, grid, goal)
    return {left: best(grid, by_unit(goals, units, left)) for left in left_out}


def _goals(
    sections: list[LabelledSet], grid: list[Constants], goal: Callable[[LabelledSet, Constants], float]
) -> np.ndarray:
    """Goals of all combinations on all sets, float64 (combinations, sets)."""
    goals = np.empty((len(grid), len(sections)))
    for column, section in enumerate(sections):
        print(f"{len(grid)} combinations on {section.name}", flush=True)
        goals[:, column] = [goal(section, constants) for constants in grid]
    return goals


def _decided(bench: Bench, section: LabelledSet, grid: list[Constants]) -> dict[str, list[float]]:
    """Accuracy + macro F1 (goal), and normal epithelium called Neoplastic (false), of each combination on a set."""
    print(f"{len(grid)} combinations of malignancy on {section.name}", flush=True)
    searched = md5(repr(grid).encode()).hexdigest()
    key = ("decided", section.name, section.cells.shape, searched, bench.sources["stnuclei"])

    def measure() -> dict[str, list[float]]:
        tested = {}  # scores of groups depend on one constant of malignancy
        known: dict[bytes, tuple[float, float]] = {}  # most combinations decide the same
        results = []
        for constants in grid:
            prior = constants["prior_rows_malignant"]
            if prior not in tested:
                tested[prior] = tested_epithelium(bench, section, constants)
            malignant = _decision(tested[prior], constants)
            if malignant.tobytes() not in known:
                known[malignant.tobytes()] = _class_scores(tested[prior], malignant)
            results.append(known[malignant.tobytes()])
        goal, false = np.array(results).T.tolist()
        return {"goal": goal, "false": false}

    return bench.keep(key, measure)


def _class_scores(tested: Epithelium, malignant: np.ndarray) -> tuple[float, float]:
    """Scores where the cells of the groups `malignant` (bool) are Neoplastic, the other epithelial ones Epithelial."""
    label = tested.label.copy()
    label[tested.cells[malignant[tested.group]]] = "Neoplastic"
    table = pd.DataFrame({"label": label, "alternatives": "", "confidence": 1.0})
    scores = score(tested.truth, table)
    return scores["accuracy"] + scores["macro F1"], scores["false Neoplastic"]


def _decision(tested: Epithelium, constants: Constants) -> np.ndarray:
    """Groups of epithelium that are called malignant, bool (groups,)."""
    from stnuclei.labels.evidence import malignancy

    scores, sizes = tested.marker + tested.growth, np.bincount(tested.group)
    if not len(scores):
        return np.zeros(0, dtype=bool)
    usable = sizes >= min(malignancy._LEAST_GROUP, sizes.max())
    parting = malignancy._two_kinds(scores[usable], sizes[usable])
    threshold = constants["malignant_threshold"]
    verdict = malignancy._verdict(scores, sizes, parting, "open", threshold, constants["malignant_fraction"])
    return malignancy._malignant_groups(scores, verdict, threshold)


def _distinct(constants: Any) -> list[Constants]:
    return list({repr(some): some for some in constants}.values())

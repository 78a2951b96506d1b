"""Constants of label methods chosen with each tumour left out.

The default method is chosen in two stages, because lineages do not depend on the constants of malignancy: first those
of `LINEAGE_GRID` by the scores of lineages (epithelial and neoplastic cells are one), then those of `MALIGNANCY_GRID`
by the scores of classes, both by full search. Names with a dot are constants of modules of `stnuclei.labels.evidence`,
which are no settings. The first value of each is the shipped one and wins where others are no better.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np

from label_bench import EVIDENCE, Bench
from labelled_sets import LabelledSet

Grid = Mapping[str, Sequence[Any]]
Constants = dict[str, Any]

LINEAGE_GRID: Grid = {
    "prior_rows": (10.0, 5.0, 20.0),
    "unmixing._UNEXPLAINED": (0.15, 0.1, 0.25),
    "cluster_weight": (50.0, 20.0, 100.0),
    "overdispersion": (0.08, 0.05, 0.12),
}
MALIGNANCY_GRID: Grid = {
    "prior_rows_malignant": (3.0, 1.0, 10.0),
    "malignant_threshold": (0.4, 0.0, 0.8),
    "malignancy._CHOSEN": (0.9, 0.3, 1.5),
    "malignancy._APART": (2.0, 1.5, 2.5),
    "malignant_fraction": (0.2, 0.1),
}
# Smallest excess of the best baseline, which is else chosen on the sets it is measured on. Its other choices (the start
# without Epithelial, gene sets, dispersion) were made on them too: about 30 configurations were tried.
CELLASSIGN_GRID: Grid = {
    "min_excess": (0.0, 0.5, 1.0, 2.0),
}


def combinations(grid: Grid) -> list[Constants]:
    """All combinations of a grid, the first values first."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def best_without_each_unit(
    goals: np.ndarray, units: np.ndarray, left_out: Sequence[str | None]
) -> dict[str | None, int]:
    """Row with the largest mean goal over the units, without each of the units `left_out` (None: over all).

    Sets are averaged within their unit, so that a tumour with four sections counts once.

    Parameters
    ----------
    goals
        (combinations, sets); NaN where a set has no goal.
    units
        (sets,) names.
    left_out
        Units.
    """
    names = np.unique(units)
    by_unit = np.column_stack([np.nanmean(goals[:, units == unit], axis=1) for unit in names])
    return {left: int(np.nanmean(by_unit[:, names != left], axis=1).round(6).argmax()) for left in left_out}


def choose_stnuclei(
    bench: Bench, sections: list[LabelledSet], normal: list[LabelledSet]
) -> dict[str | None, Constants]:
    """Constants of the default method for each unit, chosen on the other units; None: on all (disease empty, seed 0).

    What is made large is, for lineages, accuracy + macro F1 of a set; for malignancy, accuracy + macro F1 - ECE, and of
    sets without tumour cells 2 less the fraction of normal epithelium called Neoplastic.
    """
    left_out = [*np.unique([s.unit for s in sections]), None]
    grid = combinations(LINEAGE_GRID)
    units = np.array([s.unit for s in sections])
    goals = _goals(bench, sections, grid, lambda s: s["lineage accuracy"] + s["lineage macro F1"])
    lineage = {left: grid[row] for left, row in best_without_each_unit(goals, units, left_out).items()}
    chosen: dict[str | None, Constants] = {}
    for constants in _distinct(lineage.values()):
        grid = [constants | more for more in combinations(MALIGNANCY_GRID)]
        same = [left for left in left_out if lineage[left] == constants]
        # A unit that alone is left out under these constants is not looked at.
        seen = [s for s in sections if same != [s.unit]]
        clear = [s for s in normal if same != [s.unit]]
        goals = _goals(bench, seen, grid, lambda s: s["accuracy"] + s["macro F1"] - s["ECE"])
        clean = _goals(bench, clear, grid, lambda s: 2 - s["false Neoplastic"])
        units = np.array([s.unit for s in [*seen, *clear]])
        best = best_without_each_unit(np.hstack([goals, clean]), units, same)
        chosen |= {left: grid[row] for left, row in best.items()}
    return chosen


def choose_cellassign(bench: Bench, sections: list[LabelledSet]) -> dict[str | None, Constants]:
    """Constants of the baseline cellassign in the same way."""
    left_out = [*np.unique([s.unit for s in sections]), None]
    grid, units = combinations(CELLASSIGN_GRID), np.array([s.unit for s in sections])
    goals = _goals(bench, sections, grid, lambda s: s["accuracy"] + s["macro F1"], "cellassign")
    return {left: grid[row] for left, row in best_without_each_unit(goals, units, left_out).items()}


def _goals(
    bench: Bench,
    sections: list[LabelledSet],
    grid: list[Constants],
    goal: Callable[[dict[str, float]], float],
    method: str = "stnuclei",
) -> np.ndarray:
    """Goals of all combinations on all sets, float64 (combinations, sets)."""
    goals = np.empty((len(grid), len(sections)))
    for column, section in enumerate(sections):
        print(f"{method}: {len(grid)} combinations on {section.name}", flush=True)
        same = _same_decisions(bench, section, grid) if "malignancy._APART" in grid[0] else grid
        goals[:, column] = [goal(bench.score(section, method, constants)) for constants in same]
    return goals


def _same_decisions(bench: Bench, section: LabelledSet, grid: list[Constants]) -> list[Constants]:
    """For each combination the first one that decides the same on a set: most do, and cells then get the same labels.

    The decision depends on the scores of the groups of epithelium, which `prior_rows_malignant` alone changes here.
    """
    firsts = {constants["prior_rows_malignant"]: constants for constants in reversed(grid)}
    groups = {prior: _groups_of(bench, section, constants) for prior, constants in firsts.items()}
    first: dict[Any, Constants] = {}
    same = []
    for constants in grid:
        prior = constants["prior_rows_malignant"]
        decision = (prior, *_decision(groups[prior], constants))
        same.append(first.setdefault(decision, constants))
    return same


def _decision(groups: tuple[np.ndarray, np.ndarray] | None, constants: Constants) -> tuple:
    """Decision on a slide from the scores and sizes of its groups, without the words."""
    from stnuclei.labels.evidence import malignancy

    if groups is None:
        return ()
    scores, sizes = groups
    usable = sizes >= min(malignancy._LEAST_GROUP, sizes.max())
    with (
        patch(EVIDENCE + "malignancy._APART", constants["malignancy._APART"]),
        patch(EVIDENCE + "malignancy._CHOSEN", constants["malignancy._CHOSEN"]),
    ):
        parting = malignancy._two_kinds(scores[usable], sizes[usable])
        limits = (constants["malignant_threshold"], constants["malignant_fraction"])
        verdict = malignancy._verdict(scores, sizes, parting, "open", *limits)
    # Cells of groups that do not pass by their own score are undecided.
    weak = scores <= constants["malignant_threshold"] + constants["malignancy._CHOSEN"]
    return verdict.present, verdict.probability, verdict.border, weak.tobytes() if verdict.border is not None else b""


def _groups_of(bench: Bench, section: LabelledSet, constants: Constants) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores and sizes of a set's groups of epithelium; None where nothing is tested."""
    from stnuclei.labels.evidence import malignancy

    seen: list[tuple[np.ndarray, np.ndarray]] = []
    decide = malignancy._verdict

    def spy(scores: np.ndarray, sizes: np.ndarray, *rest: Any) -> Any:
        seen.append((scores, sizes))
        return decide(scores, sizes, *rest)

    with patch(EVIDENCE + "malignancy._verdict", spy):
        bench.label(section, "stnuclei", constants)
    return seen[0] if seen else None


def _distinct(constants: Any) -> list[Constants]:
    return list({repr(some): some for some in constants}.values())

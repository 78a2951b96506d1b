"""Models that are several runs of one thing: seeds of one recipe, folds of one data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stnuclei.errors import UserError


def without_validation(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Sentence about models without a validation set, "" where there are none."""
    names = [name for name, entry in models.items() if not entry.get("validation")]
    if not names:
        return ""
    return (
        f"models.{', models.'.join(names)}: no validation set: nothing shows whether they learn, and the last epoch is "
        "kept; give samples of another donor the split val"
    )


def expand_runs(models: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Give every seed a model of its own.

    Parameters
    ----------
    models
        The configuration's ``models``. ``seeds: [1, 2, 3]`` makes ``{model}-seed1`` and so on; ``run_of: NAME`` puts
        models that differ otherwise (the folds of a cross-validation) under one name.

    Returns
    -------
    models : dict
        One entry a training, with ``seed`` and without ``seeds`` and ``run_of``.
    groups : dict
        Model -> name under which the tables show it; runs of one thing share it.

    Raises
    ------
    UserError
        If a model has both ``seed`` and ``seeds``, or two models would have one name.
    """
    expanded: dict[str, dict[str, Any]] = {}
    groups: dict[str, str] = {}
    for name, entry in models.items():
        rest = {key: value for key, value in entry.items() if key not in ("seeds", "run_of")}
        seeds = entry.get("seeds")
        if seeds and "seed" in entry:
            raise UserError(f"models.{name}: give either seed or seeds, not both")
        runs = {f"{name}-seed{seed}": {**rest, "seed": seed} for seed in seeds} if seeds else {name: rest}
        for run, settings in runs.items():
            if run in expanded:
                raise UserError(f"models.{run}: there are two models of this name; rename one")
            expanded[run], groups[run] = settings, entry.get("run_of", name)
    return expanded, groups

"""Models that depend on others: runs of one thing (seeds, folds), and students of a model that is trained first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stnuclei.config.model_files import file_problem
from stnuclei.errors import UserError, refuse, suggestion


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


def teacher_of(config: Mapping[str, Any], model: str) -> str | None:
    """Teacher of a model as its settings name it: a model's name, a path, or None; no model teaches itself."""
    teacher = {**config["training"], **config["models"][model].get("training", {})}.get("teacher")
    return None if teacher == model else teacher


def local_teacher(config: Mapping[str, Any], model: str, results: str) -> str | None:
    """Path of the checkpoint of a model's teacher; None without one.

    Parameters
    ----------
    config
        The whole configuration, its models expanded to runs.
    model
        The student.
    results
        Folder of the run's results.
    """
    teacher = teacher_of(config, model)
    return f"{results}/models/{teacher}/checkpoint.pt" if teacher in config["models"] else teacher


def check_teachers(config: Mapping[str, Any]) -> None:
    """Refuse teachers that are neither a model nor a path, and models that would wait for each other.

    Raises
    ------
    UserError
        With one line a problem.
    """
    problems, models = [], config["models"]
    for model in models:
        key, seen, teacher = f"models.{model}.training.teacher", [model], teacher_of(config, model)
        if teacher and teacher not in models and not {".", "/"} & set(teacher):
            problems.append(f"{key}: {teacher!r} is neither a model nor a path; {suggestion(teacher, list(models))}")
        while teacher is not None and teacher in models:
            if teacher in seen:
                problems.append(f"{key}: {' -> '.join([*seen, teacher])} is a circle; one of them must learn alone")
                break
            seen.append(teacher)
            teacher = teacher_of(config, teacher)
    refuse("the configuration", problems)


def missing_teachers(config: Mapping[str, Any], models: set[str]) -> list[str]:
    """One line for each teacher's file that models about to be trained need and that is absent or not whole."""
    lines = {}
    for model in sorted(models & set(config["models"])):
        teacher = teacher_of(config, model)
        problem = file_problem(teacher) if teacher and teacher not in config["models"] else None
        if problem:
            lines[str(teacher)] = f"models.{model}.training.teacher: {teacher} {problem}; train it, or give null"
    return list(lines.values())

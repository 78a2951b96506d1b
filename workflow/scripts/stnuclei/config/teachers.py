"""Teachers of models: a checkpoint file, or another model of the configuration, which is then trained first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stnuclei.config.model_files import file_problem
from stnuclei.errors import refuse, suggestion


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

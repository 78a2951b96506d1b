"""Learning rate as a function of the settings."""

from __future__ import annotations

import math

from stnuclei.config.training import TrainSettings


def learning_rate(settings: TrainSettings, epoch: int, step: int, steps: int) -> float:
    """Learning rate of an optimiser step.

    Parameters
    ----------
    settings
        `learning_rate`, `schedule`, `gamma`, `warmup_steps`, `epochs`.
    epoch, step
        Counted from 0; `step` inside the epoch.
    steps
        Steps of an epoch.

    Notes
    -----
    ``exponential`` is lr gamma^epoch, constant inside an epoch as the official runs had it; ``cosine`` falls from lr
    to lr / 100 step by step over the whole run.
    """
    done = epoch * steps + step
    rate = settings.learning_rate
    if settings.schedule == "exponential":
        rate *= settings.gamma**epoch
    elif settings.schedule == "cosine":
        share = done / max(settings.epochs * steps, 1)
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))
    return rate * min(1.0, (done + 1) / (settings.warmup_steps + 1))

"""Best epoch of a run by a validation score: its weights are kept, and a run without a better one ends early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from stnuclei.config.training import TrainSettings
from stnuclei.errors import UserError


class BestEpoch:
    """Weights of the epoch with the best score so far.

    Parameters
    ----------
    column
        Of the history: ``val_loss`` is better where it is lower, all others where they are higher.
    keep
        False: only the epoch's number is kept.
    latest
        Every epoch counts as better than those before.

    Attributes
    ----------
    epoch
        Number of the best epoch from 0; -1 before the first score.
    """

    def __init__(self, column: str, keep: bool = True, latest: bool = False) -> None:
        self._column, self._sign = column, -1.0 if column == "val_loss" else 1.0
        self._keeps, self._latest = keep, latest
        self.weights: dict[str, torch.Tensor] = {}
        self.score, self.epoch = float("-inf"), -1

    @classmethod
    def of(cls, settings: TrainSettings, validated: bool) -> BestEpoch | None:
        """For settings that need it, None for others.

        Raises
        ------
        UserError
            If there is no validation to choose by.
        """
        if settings.keep == "last" and settings.patience is None:
            return None
        if not validated or not settings.validation_patches:
            key = "keep: best" if settings.keep == "best" else "patience"
            raise UserError(
                f"training.{key} chooses epochs by their validation, and nothing is validated; name the model's "
                "`validation` sources and set training.validation_patches above 0"
            )
        return cls(f"val_{settings.keep_by}", settings.keep == "best")

    def offer(self, network: nn.Module, row: Mapping[str, float], epoch: int) -> None:
        """Keep an epoch's weights where its score is better; an epoch without the score changes nothing."""
        score = self._sign * row.get(self._column, float("nan"))
        if self._latest or score > self.score:
            self.score, self.epoch = score, epoch
            if self._keeps:
                self.weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}

    def is_stale(self, epochs: int, patience: int | None) -> bool:
        """True if the last `patience` of the finished epochs brought nothing better."""
        return patience is not None and self.epoch >= 0 and epochs - 1 - self.epoch >= patience

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""
        return {"weights": self.weights, "score": self.score, "epoch": self.epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state."""
        self.weights = dict(state_dict["weights"])
        self.score, self.epoch = float(state_dict["score"]), int(state_dict["epoch"])

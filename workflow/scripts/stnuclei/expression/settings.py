"""Settings of the baseline's training."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from stnuclei.errors import UserError

CHOICES: dict[str, tuple[str, ...]] = {
    "network": ("efficientnet-b0", "resnet-50", "densenet-121", "vit-s16", "efficientnet-tiny"),
    "fine_tuning": ("full", "head"),
    "augmentation": ("morphology", "none"),
    "precision": ("auto", "bf16", "fp16", "fp32"),
}
#: What may change between a run and its continuation.
FREE = frozenset({"threads", "workers", "device", "precision"})


@dataclass(frozen=True)
class ExpressionSettings:
    """What a training run of the baseline does.

    Parameters
    ----------
    network, weights
        Architecture, and a local file of pretrained weights (none: random start).
    fine_tuning
        ``full``: all weights learn; ``head``: only the last layer, the rest stays as it was loaded.
    epochs, patience
        At most so many epochs; stop after `patience` without a better validation loss. The best epoch's weights count.
    batch_size, learning_rate, weight_decay
        Of AdamW; the rate falls along a half cosine over `epochs`.
    augmentation
        ``morphology``: flips, right-angle turns and mild colour, which keep shapes and sizes; or ``none``.
    patch_px
        Side to which patches are brought before the network; none: as they were cut.
    min_counts
        Patches with fewer counts are used nowhere: their normalised values are noise.
    max_genes, min_share
        Genes predicted: those found in at least this share of training patches, at most so many (the most abundant
        and the most variable in turn).
    validation_share, test_share, block
        See `stnuclei.expression.split`; `block` is the side of a block of tissue in patches.
    seed
        Of everything random.
    device, precision, workers, threads
        As in `stnuclei.training.settings.TrainSettings`.
    """

    network: str = "efficientnet-b0"
    weights: str | None = None
    fine_tuning: str = "full"
    epochs: int = 50
    patience: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    augmentation: str = "morphology"
    patch_px: int | None = None
    min_counts: int = 20
    max_genes: int = 1000
    min_share: float = 0.05
    validation_share: float = 0.15
    test_share: float = 0.2
    block: int = 3
    seed: int = 19
    device: str = "auto"
    precision: str = "auto"
    workers: int = 4
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse values no run can use.

        Raises
        ------
        UserError
            Naming the setting, its value and what is allowed.
        """
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"expression.{name}: {getattr(self, name)!r} is none of {', '.join(choices)}")
        for name in ("epochs", "patience", "batch_size", "learning_rate", "max_genes", "block", "workers"):
            if not getattr(self, name) > 0:
                raise UserError(f"expression.{name} must be above 0, not {getattr(self, name)}")
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 0.9:
                raise UserError(f"expression.{name} must lie between 0 and 0.9, not {getattr(self, name)}")
        if self.patch_px is not None and self.patch_px < 32:
            raise UserError(f"expression.patch_px must be 32 or more, or null, not {self.patch_px}")
        if self.network == "vit-s16" and (self.patch_px or 16) % 16:
            raise UserError(f"expression.patch_px: vit-s16 takes multiples of 16 px, not {self.patch_px}")
        if self.fine_tuning == "head" and not self.weights:
            raise UserError("expression.fine_tuning: head learns nothing from random weights; give expression.weights")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ExpressionSettings:
        """Build from a config block.

        Raises
        ------
        UserError
            For a key there is none of, with the nearest there is.
        """
        known = {field.name: field.type for field in fields(cls)}
        for key in content:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise UserError(f"expression.training.{key}: there is no such setting; {hint}")
        # YAML reads 1e-4 as text.
        return cls(**{key: float(v) if known[key] == "float" else v for key, v in content.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain content for a checkpoint; `from_dict` reads it back."""
        return asdict(self)

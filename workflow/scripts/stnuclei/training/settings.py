"""Settings of a training run; the defaults are the published PanNuke recipe of CellViT.

Values marked [log] are what the official runs' logs show, where their configuration files say otherwise.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from stnuclei.errors import UserError

CHOICES: dict[str, tuple[str, ...]] = {
    "precision": ("auto", "bf16", "fp16", "fp32"),
    "schedule": ("exponential", "cosine", "constant"),
    "sampling": ("random", "tissue", "cell", "cell+tissue"),
    "loss_variant": ("official", "corrected"),
}

# What may change between a run and its continuation: where and how fast it runs, not what it computes.
FREE = frozenset(
    {"epochs", "workers", "device", "compile", "channels_last", "fused", "validate_every", "validation_patches"}
    | {"threads", "tensorboard", "accumulation", "precision"}
)


@dataclass(frozen=True)
class TrainSettings:
    """What a training run does.

    Parameters
    ----------
    architecture
        ``cellvit-256``, ``cellvit-sam-b``, ``-l``, ``-h`` or ``cellvit-tiny``.
    encoder_weights
        File of encoder weights (HIPT for 256, SAM for the others); none: random start, and then nothing is frozen.
    epochs, batch_size, accumulation
        `batch_size` patches make one optimiser step, over all processes together; each process runs its share in
        `accumulation` parts. The recipe therefore stays the same on one GPU and on eight.
    learning_rate, betas, weight_decay
        AdamW, weight decay on all parameters.
    schedule, gamma, warmup_steps
        ``exponential``: the rate is multiplied by `gamma` after each epoch, 0.95 [log] (their file says 0.85);
        ``cosine``: falls to 1 % over the run; `warmup_steps` optimiser steps rise linearly from zero first.
    freeze_epochs
        The encoder stands still for so many epochs where its weights were loaded.
    gradient_clip
        Largest gradient norm, none as in the official runs.
    sampling, sampling_gamma, samples_per_epoch
        How patches are drawn (see `stnuclei.loading.sampler`) and how many an epoch; none: as many as there are.
    loss_variant, loss_weights
        ``official`` or ``corrected``; weights by term, those left out stay official.
    drop_rate, attention_drop, drop_path
        Dropout of decoder, attention and residual paths (without effect in SAM encoders).
    augmentation
        ``official``, ``flips`` or ``none``, or single settings of `stnuclei.augmentation.augmenter.Augmenter` by name.
    precision
        ``bf16``, ``fp16``, ``fp32``, or ``auto``: bf16 on a GPU that has it, fp16 on another one, fp32 on CPU.
    compile, channels_last, fused
        `torch.compile`, memory format of images, fused AdamW.
    sync_batchnorm, sync_losses
        Several processes: BatchNorm statistics, and the sums inside Dice and Tversky losses, over all of them.
    device, workers, threads
        ``auto``, ``cuda`` or ``cpu``; threads that read patches; threads of the CPU arithmetic (none: torch decides).
    slow_disk
        For disks that seek slowly: patches are drawn from a few files at a time, which are read ahead as a whole; what
        is drawn in an epoch stays, its order changes.
    validation_patches, validate_every
        Size of the sample scored each so many epochs (all patches are scored at the end).
    seed
        Of everything random.
    deterministic
        Ask cuDNN for reproducible kernels, slower.
    tensorboard
        Write TensorBoard files.
    """

    architecture: str = "cellvit-256"
    encoder_weights: str | None = None
    epochs: int = 130
    batch_size: int = 256
    accumulation: int = 1
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.85, 0.95)
    weight_decay: float = 1e-4
    schedule: str = "exponential"
    gamma: float = 0.95
    warmup_steps: int = 0
    freeze_epochs: int = 25
    gradient_clip: float | None = None
    sampling: str = "cell+tissue"
    sampling_gamma: float = 0.85
    samples_per_epoch: int | None = None
    loss_variant: str = "official"
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    drop_rate: float = 0.0
    attention_drop: float = 0.1
    drop_path: float = 0.1
    augmentation: Mapping[str, Any] | str = "official"
    precision: str = "auto"
    compile: bool = False
    channels_last: bool = True
    fused: bool = True
    sync_batchnorm: bool = False
    sync_losses: bool = False
    device: str = "auto"
    workers: int = 8
    threads: int | None = None
    slow_disk: bool = False
    validation_patches: int = 512
    validate_every: int = 1
    seed: int = 19
    deterministic: bool = False
    tensorboard: bool = True

    def __post_init__(self) -> None:
        """Refuse values no run can use.

        Raises
        ------
        UserError
            Naming the setting, its value and what is allowed.
        """
        object.__setattr__(self, "betas", tuple(self.betas))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"training.{name}: {getattr(self, name)!r} is not one of {', '.join(choices)}")
        for name in ("epochs", "batch_size", "accumulation", "validate_every", "learning_rate", "gamma"):
            if not getattr(self, name) > 0:
                raise UserError(f"training.{name} must be above 0, not {getattr(self, name)}")
        for name in ("samples_per_epoch", "gradient_clip", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"training.{name} must be above 0 or left out, not {value}")
        for name in ("warmup_steps", "freeze_epochs", "workers", "validation_patches", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise UserError(f"training.{name} must not be below 0, as {getattr(self, name)} is")
        for name in ("sampling_gamma", "drop_rate", "attention_drop", "drop_path"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"training.{name} must lie between 0 and 1, not {getattr(self, name)}")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TrainSettings:
        """Build from a config block.

        Raises
        ------
        UserError
            For a key there is none of, with the nearest one there is, and for values `TrainSettings` refuses.
        """
        known = [f.name for f in fields(cls)]
        for key in content:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
                raise UserError(f"training.{key}: there is no such setting{hint}")
        numbers = {f.name: _number(f.name, f.type, content[f.name]) for f in fields(cls) if f.name in content}
        return cls(**numbers)

    def to_dict(self) -> dict[str, Any]:
        """Plain content for a JSON file or a checkpoint; `from_dict` reads it back."""
        return {**asdict(self), "betas": list(self.betas)}

    def micro_batch(self, processes: int) -> int:
        """Patches one process holds at a time.

        Raises
        ------
        UserError
            If the batch cannot be cut into equal parts.
        """
        parts = processes * self.accumulation
        if self.batch_size % parts:
            raise UserError(
                f"training.batch_size {self.batch_size} cannot be cut into {processes} processes x "
                f"{self.accumulation} parts (training.accumulation): choose numbers that divide it"
            )
        return self.batch_size // parts


def _number(name: str, kind: str, value: Any) -> Any:
    """YAML reads 3e-4 as a string; numbers that look like numbers become what the field wants."""
    if value is None or not kind.startswith(("int", "float")):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"training.{name} must be a number, not {value!r}") from None
    if kind.startswith("float"):
        return number
    if number != int(number):
        raise UserError(f"training.{name} must be a whole number, not {value!r}")
    return int(number)

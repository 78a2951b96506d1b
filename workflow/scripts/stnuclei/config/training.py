"""Settings of a CellViT's training; the defaults are the published PanNuke recipe with the paper's batch.

Values marked [log] are what the official runs' logs show, where their configuration files say otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Tag

from stnuclei.config.augmentation import AugmentSettings
from stnuclei.config.encoders import known_architecture
from stnuclei.config.model import Count, Flag, Fraction, NotNegative, Positive, Seed, Settings, TextOrOther, WholeNumber
from stnuclei.errors import UserError

Precision = Literal["auto", "bf16", "fp16", "fp32"]
LossTerm = Literal[
    "np_focaltversky", "np_dice", "hv_mse", "hv_msge", "nt_bce", "nt_dice", "nt_mcfocaltversky", "tissue_ce"
]
#: Threads that read patches where neither the configuration nor a job says how many.
_READERS = 8


Augmentation = Annotated[
    Annotated[Literal["official", "flips", "none"], Tag("(text)")] | Annotated[AugmentSettings, Tag("(other)")],
    TextOrOther,
]


class TrainingBlock(Settings, block="training"):
    """Block ``training`` of the configuration; a model's own ``training`` overrides single keys."""

    architecture: Annotated[str, AfterValidator(known_architecture)] = Field(
        "cellvit-256",
        description="Network by its encoder: cellvit-256, -sam-h, -uni, ...; cellvit-light: CPUs (docs/training.md).",
    )
    encoder_weights: str | None = Field(
        None,
        description="A name (hipt-vit256, uni, ...), hub:owner/name/file, a file, a URL; null: random start.",
    )
    teacher: str | None = Field(
        None, description="Checkpoint, or a model of `models`, whose maps are learned beside the labels; null: none."
    )
    teacher_loss: NotNegative = Field(1.0, description="Weight of the differences from the teacher's maps.")
    label_loss: NotNegative = Field(1.0, description="Weight of the losses against labels where there is a teacher.")
    epochs: Count = Field(130, description="Epochs.")
    batch_size: Count = Field(
        256, description="Patches an optimiser step, over all processes together (the paper's; PanNuke's recipe: 16)."
    )
    accumulation: Count = Field(1, description="Parts a batch is computed in where memory is short.")
    learning_rate: Positive = Field(3e-4, description="Of AdamW.")
    betas: tuple[Fraction, Fraction] = Field((0.85, 0.95), description="Of AdamW.")
    weight_decay: NotNegative = Field(1e-4, description="Of AdamW, on all parameters.")
    schedule: Literal["exponential", "cosine", "constant"] = Field(
        "exponential", description="Of the learning rate; cosine falls to 1 % over the run."
    )
    gamma: Annotated[float, Field(gt=0, le=1)] = Field(
        0.95, description="Exponential decay an epoch [log]; the published file says 0.85."
    )
    warmup_steps: WholeNumber = Field(0, description="Optimiser steps over which the rate first rises from zero.")
    freeze_epochs: WholeNumber = Field(25, description="Epochs in which a pretrained encoder is frozen.")
    gradient_clip: Positive | None = Field(None, description="Largest gradient norm; null: no clipping.")
    sampling: Literal["random", "tissue", "cell", "cell+tissue"] = Field(
        "cell+tissue", description="Weights of patches: none, by tissue, by class of nuclei, or by both."
    )
    sampling_gamma: Fraction = Field(0.85, description="Strength of these weights; 0: uniform.")
    samples_per_epoch: Count | None = Field(None, description="Patches an epoch; null: as many as there are.")
    crop_px: Annotated[int, Field(ge=32, multiple_of=16)] | None = Field(
        None, description="Side of a random crop of each patch that a step sees; null: whole patches."
    )
    loss_variant: Literal["official", "corrected"] = Field(
        "official", description="Losses as the published code computes them, or corrected."
    )
    loss_weights: dict[LossTerm, NotNegative] = Field(
        {}, description="By term; those left out keep the published weight."
    )
    label_weight: Literal["none", "confidence"] = Field(
        "none", description="Weight of a nucleus in the class loss: 1, or the confidence of its label."
    )
    augmentation: Augmentation = Field("official", description="official, flips, none, or single values by name.")
    drop_rate: Fraction = Field(0.0, description="Dropout of the decoder.")
    attention_drop: Fraction = Field(0.1, description="Dropout of attention (no effect in SAM encoders).")
    drop_path: Fraction = Field(0.1, description="Dropout of residual paths (no effect in SAM encoders).")
    precision: Precision = Field(
        "auto", description="auto: bf16 where GPU or CPU computes in it; else fp16 on a GPU, fp32 on a CPU."
    )
    compile: Flag = Field(False, description="torch.compile.")
    channels_last: Flag = Field(True, description="Memory format of images: channels last, faster on GPUs.")
    sam_positions: Literal["bias", "folded"] = Field(
        "bias",
        description="Positions in SAM: a bias, as published, or folded into queries and keys: less memory.",
    )
    fused: Flag = Field(True, description="Fused AdamW on GPUs.")
    sync_batchnorm: Flag = Field(False, description="Several GPUs: BatchNorm statistics over all of them.")
    sync_losses: Flag = Field(False, description="Several GPUs: sums inside Dice and Tversky losses over all.")
    deterministic: Flag = Field(False, description="Reproducible GPU kernels, slower.")
    slow_disk: Flag = Field(False, description="Read shards in one sweep instead of at random.")
    validation_patches: WholeNumber = Field(2000, description="Patches validated each epoch; all of them at the end.")
    validate_every: Count = Field(1, description="Epochs between validations.")
    keep: Literal["last", "best"] = Field(
        "last", description="Epoch whose weights the model gets: the last, as published, or the best by `keep_by`."
    )
    keep_by: Literal["bpq", "dice", "detection_f1", "macro_f1", "loss"] = Field(
        "bpq", description="Validation score that the best epoch and `patience` go by."
    )
    patience: Count | None = Field(
        None, description="Epochs without a better validation score after which training ends; null: never."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one.")
    processes: Count = Field(1, description="GPUs a model is trained on (torchrun).")
    threads: Count | None = Field(
        None, description="CPU training: a fixed number gives the same model whatever --cores is."
    )
    workers: WholeNumber | None = Field(None, description="Threads that read patches; null: the job's threads.")
    tensorboard: Flag = Field(True, description="Write TensorBoard files.")


class TrainSettings(TrainingBlock):
    """Settings of one training run: the block, and the run's seed."""

    seed: Seed = Field(19, description="Seed of everything random.")

    @property
    def readers(self) -> int:
        """Threads that read patches."""
        return _READERS if self.workers is None else self.workers

    def micro_batch(self, processes: int) -> int:
        """Patches one process holds at a time.

        Raises
        ------
        UserError
            If the batch cannot be cut into equal parts.
        """
        micro_batches = processes * self.accumulation
        if self.batch_size % micro_batches:
            raise UserError(
                f"training.batch_size {self.batch_size} cannot be cut into {processes} processes x "
                f"{self.accumulation} parts (training.accumulation): choose numbers that divide it"
            )
        return self.batch_size // micro_batches

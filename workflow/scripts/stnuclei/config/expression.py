"""Settings of the single-patch expression baseline (docs/expression.md)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from stnuclei.config.model import (
    Count,
    Distinct,
    Fraction,
    Name,
    NotNegative,
    Positive,
    Seed,
    Settings,
    TextOrOther,
    WholeNumber,
)
from stnuclei.config.training import Precision

Split = Literal["train", "val", "seg_eval", "cls_eval"]
HeldOutFraction = Annotated[float, Field(gt=0, lt=0.9)]
Names = Annotated[list[str], Distinct]
Slides = Annotated[Annotated[Split, Tag("(text)")] | Annotated[Names, Tag("(other)")], TextOrOther]
_FEWEST_COUNTS = 100
#: Threads that read patches where neither the configuration nor a job says how many.
_READERS = 4


class ExpressionTraining(Settings, block="expression.training"):
    """Block ``expression.training``; a model's own ``training`` overrides single keys."""

    network: Literal["efficientnet-b0", "resnet-50", "densenet-121", "vit-s16", "efficientnet-tiny"] = Field(
        "efficientnet-b0", description="Architecture; efficientnet-tiny is for CPUs."
    )
    weights: str | None = Field(
        None,
        description="imagenet-efficientnet-b0, imagenet-resnet-50, imagenet-densenet-121 or hipt-vit256 (fetched), a "
        "file, or a URL; null: random start.",
    )
    fine_tuning: Literal["full", "head"] = Field(
        "full", description="full: all weights learn; head: only the last layer."
    )
    epochs: Count = Field(50, description="Epochs at most; the best epoch's weights count.")
    patience: Count = Field(10, description="Epochs without a better validation loss before it stops.")
    batch_size: Annotated[int, Field(ge=2)] = Field(32, description="Patches a step.")
    learning_rate: Positive = Field(1e-4, description="Of AdamW; falls along a half cosine.")
    weight_decay: NotNegative = Field(1e-2, description="Of AdamW.")
    augmentation: Literal["morphology", "none"] = Field(
        "morphology", description="Flips, right-angle turns and mild colour, which keep shapes and sizes; or none."
    )
    patch_px: Annotated[int, Field(ge=32)] | None = Field(
        None, description="Side the patches are brought to, px; null: as they were cut."
    )
    max_genes: Count = Field(1000, description="Genes predicted at most, the most abundant and most variable.")
    min_fraction: Fraction = Field(0.05, description="Genes in a smaller fraction of training patches are left out.")
    validation_fraction: HeldOutFraction = Field(0.15, description="Of the training patches, for early stopping.")
    test_fraction: HeldOutFraction = Field(
        0.2, description="Of donors (multi_donor), or of a donor's tissue (single_donor)."
    )
    block_patches: Count = Field(3, description="Side of the held-out blocks of tissue, patches.")
    precision: Precision = Field("auto", description="auto: bf16 on a GPU that has it, fp16 on others, fp32 on CPU.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one.")
    workers: Count | None = Field(None, description="Threads that read patches; null: the job's threads.")
    threads: Count | None = Field(None, description="CPU: a fixed number gives the same model whatever --cores is.")

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.network == "vit-s16" and (self.patch_px or 16) % 16:
            raise ValueError(f"patch_px: vit-s16 takes multiples of 16 px, not {self.patch_px}")
        return self


class ExpressionSettings(ExpressionTraining, block="expression"):
    """Settings of one training run: the block, and what the run has from elsewhere."""

    min_counts: Count = Field(_FEWEST_COUNTS, description="Patches with fewer counts are used nowhere.")
    seed: Seed = Field(19, description="Seed of everything random.")

    @property
    def readers(self) -> int:
        """Threads that read patches."""
        return _READERS if self.workers is None else self.workers

    @model_validator(mode="after")
    def _weights_to_keep(self) -> Self:
        if self.fine_tuning == "head" and not self.weights:
            raise ValueError("fine_tuning: head learns nothing from random weights; give expression.training.weights")
        return self


class SpotSample(Settings):
    """A HEST-1k sample of spots."""

    path: Name = Field(description="HEST-1k's folder.")
    id: Name = Field(description="HEST-1k's id of the sample.")
    tissue: Name = Field(description="Tissue.")
    donor: str = Field("", description="Donor; empty: a donor of its own.")


class SpotPatches(Settings):
    """Block ``expression.spot_patches``: the patch cut round each spot."""

    um_per_px: Positive = Field(0.5, description="Pixel size, um.")
    size: Annotated[int, Field(ge=32, multiple_of=16)] = Field(224, description="Side, px.")


class ExpressionModel(Settings):
    """One entry of ``expression.models``."""

    protocol: Literal["single_donor", "multi_donor"] = Field(description="What is held out: tissue or donors.")
    samples: Slides = Field(description="Names, or a split, of slides it is trained and tested on.")
    cross_tissue: Slides = Field([], description="Slides of other tissues, only predicted.")
    held_out: Names = Field([], description="Donors to test on; empty: drawn by the seed.")
    training: ExpressionTraining = Field(ExpressionTraining(), description="Overrides of expression.training.")
    seed: Seed | None = Field(None, description="Its seed; null: the configuration's.")


class Nulls(Settings):
    """Block ``expression.nulls``: networks trained on shuffled expression."""

    epochs: Count = Field(20, description="Epochs at most.")
    repeats: Count = Field(3, description="How many networks.")


class ScoreSettings(Settings):
    """Block ``expression.scores``."""

    set_size: Count = Field(50, description="Genes in the sets of best and worst predicted ones.")
    threshold: Annotated[float, Field(ge=-1, le=1)] = Field(0.30, description="Pearson's r of a predictable gene.")
    permutations: Count = Field(20, description="Permutations of the null distribution.")


class ExpressionBlock(Settings):
    """Block ``expression``; without models none of it runs."""

    counts: Literal["cells", "transcripts"] = Field(
        "cells", description="cells: those whose centre lies in the patch; transcripts: all of the sample's own file."
    )
    min_qv: Annotated[float, Field(ge=0, le=40)] = Field(
        20, description="Transcripts below this quality are not counted."
    )
    target_sum: Positive = Field(10000, description="Counts a patch is scaled to before log(1 + x).")
    min_counts: Count = Field(_FEWEST_COUNTS, description="Patches with fewer counts are used nowhere.")
    controls: WholeNumber = Field(
        20, description="Genes with a twin whose values are dealt to other patches: r of these must be 0."
    )
    graph: Literal["queen", "rook", "knn"] = Field(
        "queen", description="Neighbours for Moran's I: queen (8), rook (4), knn (6 nearest; spots always)."
    )
    spots: dict[Name, SpotSample] = Field({}, description="HEST-1k samples of spots, by name.")
    spot_patches: SpotPatches = Field(SpotPatches(), description="Patch round each spot.")
    training: ExpressionTraining = Field(ExpressionTraining(), description="Training of the networks.")
    nulls: Nulls = Field(Nulls(), description="Networks trained on shuffled expression.")
    scores: ScoreSettings = Field(ScoreSettings(), description="Scores of predictability.")
    models: dict[Name, ExpressionModel] = Field({}, description="Baselines by name.")

"""Settings of cell classifiers: heads trained on a model's frozen tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from stnuclei.config.model import Count, Flag, Fraction, NotNegative, Positive, Seed, Settings, TextOrOther, WholeNumber
from stnuclei.errors import UserError, refuse, suggestion
from stnuclei.taxonomy import Taxonomy

ClassWeights = Annotated[
    Annotated[Literal["none", "balanced", "sqrt"], Tag("(text)")] | Annotated[dict[str, NotNegative], Tag("(other)")],
    TextOrOther,
]


class ClassifierBlock(Settings, block="classifiers.NAME.head"):
    """Settings of one head's training."""

    hidden: WholeNumber = Field(128, description="Width of the hidden layer; 0: a linear head.")
    dropout: Fraction = Field(0.1, description="Dropout of the hidden layer.")
    epochs: Count = Field(50, description="Epochs at most.")
    patience: Count = Field(5, description="Epochs without a lower validation loss after which training ends.")
    batch_size: Count = Field(1024, description="Nuclei an optimiser step.")
    learning_rate: Positive = Field(1e-3, description="Of AdamW.")
    weight_decay: NotNegative = Field(1e-4, description="Of AdamW.")
    class_weights: ClassWeights = Field(
        "sqrt", description="none, balanced (1 / frequency), sqrt (its root), or a weight by class; mean 1 over nuclei."
    )
    label_weight: Literal["none", "confidence"] = Field(
        "none", description="Weight of a nucleus in the loss: 1, or the confidence of its label."
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="Fraction of the patches held out where no validation set is named."
    )
    standardise: Flag = Field(
        True, description="Learn on standardised tokens; mean and scale then go into the weights."
    )


class ClassifierSettings(ClassifierBlock):
    """Settings of one training run: the block, and the run's seed."""

    seed: Seed = Field(19, description="Seed of everything random.")


def check_classifiers(config: Mapping[str, Any], models: Collection[str]) -> None:
    """Check the names in ``classifiers`` against models, checkpoints and taxonomies.

    Parameters
    ----------
    config
        The whole configuration.
    models
        Models that are trained here, each seed of its own.

    Raises
    ------
    UserError
        With one line a problem, and the nearest name there is.
    """
    bases = [*models, *config["segmentation"]["checkpoints"]]
    problems = []
    for name, entry in config["classifiers"].items():
        if name in bases:
            problems.append(f"classifiers.{name}: a model has this name; take another")
        if entry["model"] not in bases:
            problems.append(
                f"classifiers.{name}.model: no model {entry['model']!r}; {suggestion(entry['model'], bases)}"
            )
        problems += _taxonomy_problems(name, entry, config)
    refuse("the configuration", problems)


def _taxonomy_problems(name: str, entry: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    try:
        taxonomy = Taxonomy.load(classifier_taxonomy(entry, config))
    except UserError as error:
        yield f"classifiers.{name}.taxonomy: {error}"
        return
    weights = entry["head"]["class_weights"]
    for key in weights if isinstance(weights, Mapping) else ():
        if key not in taxonomy.names:
            yield f"classifiers.{name}.head.class_weights.{key}: no such class; {suggestion(key, taxonomy.names)}"
    if own_taxonomy(entry, config) and any("pannuke" in source for source in (*entry["train"], *entry["validation"])):
        yield (
            f"classifiers.{name}.taxonomy: PanNuke's manual labels are in {config['taxonomy']}; take samples with a "
            "label method, or leave taxonomy out"
        )


def classifier_taxonomy(entry: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Taxonomy of a classifier: its own, or the configuration's."""
    return str(entry["taxonomy"] or config["taxonomy"])


def own_taxonomy(entry: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Name of a classifier's taxonomy where it is not the configuration's: labels are then made in it too."""
    taxonomy = classifier_taxonomy(entry, config)
    return None if taxonomy == config["taxonomy"] else Path(taxonomy).stem


def collapses(fine: str | Path, coarse: str | Path) -> bool:
    """True if the classes of one taxonomy add up to those of another."""
    return Taxonomy.load(coarse).name in Taxonomy.load(fine).collapse

"""The whole configuration: every block, the models to train, and all its problems at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from stnuclei.config.classifiers import ClassifierBlock
from stnuclei.config.expression import ExpressionBlock, Split
from stnuclei.config.inputs import (
    AlignmentBlock,
    CutSettings,
    HestBlock,
    MarkersBlock,
    PannukeBlock,
    RegionsBlock,
    SlidesBlock,
    TissueBlock,
)
from stnuclei.config.labels import ClusteringBlock, LabelsBlock, Method
from stnuclei.config.model import Count, Distinct, Name, Positive, Seed, Settings, TextOrOther, WholeNumber, check
from stnuclei.config.segmentation import PredictionBlock, SegmentationBlock
from stnuclei.config.training import TrainingBlock
from stnuclei.errors import UserError, is_file_name, refuse
from stnuclei.taxonomy import Taxonomy

#: Blocks whose keys a user chooses: a configuration's replace the shipped ones instead of joining them.
_REPLACED = ("models", "classifiers")
#: Keys whose text is a path, blocks whose entries all are, and blocks whose keys name folders.
_PATHS = ("samples", "results", "slides_table", "taxonomy", "path", "folder", "encoder_weights", "weights")
_PATH_BLOCKS = ("markers", "segmentation.checkpoints")
_FOLDER_NAMES = ("segmentation.checkpoints", "expression.spots", "expression.models", "classifiers")


def _plain(name: str) -> str:
    if not is_file_name(name):
        raise ValueError("use letters, digits, '_', '-' and '.' only: it names a folder")
    return name


FolderName = Annotated[str, AfterValidator(_plain)]


SomeNames = Annotated[list[str], Field(min_length=1), Distinct]


class SampleSource(Settings, block="evaluation"):
    """Samples with one label set."""

    samples: Annotated[Annotated[Split, Tag("(text)")] | Annotated[SomeNames, Tag("(other)")], TextOrOther] = Field(
        description="A split of the samples table, or names."
    )
    labels: Method = Field(description="Label method.")


class FoldSource(Settings):
    """Folds of PanNuke with their manual labels."""

    pannuke: Annotated[list[Count], Field(min_length=1), Distinct] = Field(description="Folds.")
    tissues: SomeNames | None = Field(None, description="Only patches of these tissues; null: all.")


def _source_tag(value: Any) -> str:
    named = isinstance(value, Mapping) and "pannuke" in value
    return "(folds)" if isinstance(value, FoldSource) or named else "(samples)"


ModelSource = Annotated[
    Annotated[SampleSource, Tag("(samples)")] | Annotated[FoldSource, Tag("(folds)")], Discriminator(_source_tag)
]


class ModelEntry(Settings):
    """One entry of ``models``: a CellViT to train."""

    train: Annotated[list[ModelSource], Field(min_length=1)] = Field(description="What it is trained on.")
    validation: list[ModelSource] = Field([], description="What it is validated on each epoch.")
    test: list[FoldSource] = Field([], description="Folds it is scored on.")
    training: TrainingBlock = Field(TrainingBlock(), description="Overrides of training.")
    seed: Seed | None = Field(None, description="Its seed; null: the configuration's.")
    seeds: Annotated[list[Seed], Field(min_length=1), Distinct] | None = Field(
        None, description="Several seeds: one training each."
    )
    run_of: Name | None = Field(None, description="Name in tables that it shares with other runs.")


class ClassifierEntry(Settings):
    """One entry of ``classifiers``: a head on the frozen tokens of a model (docs/classifiers.md)."""

    model: Name = Field(description="Whose tokens: a name of models or of segmentation.checkpoints.")
    train: Annotated[list[ModelSource], Field(min_length=1)] = Field(description="What it is trained on.")
    validation: list[ModelSource] = Field(
        [], description="By what training stops; none: a fraction of the patches of train."
    )
    taxonomy: Name | None = Field(
        None, description="Its classes, a shipped name or a YAML file; null: the configuration's."
    )
    tokens: Literal["box", "centre", "nucleus"] = Field(
        "box", description="Tokens of a nucleus: mean over its box (CellViT++), the one under its centre, mean over it."
    )
    nuclei: Literal["run", "network"] = Field(
        "run", description="Nuclei that it learns from: the run's, or the network's own that lie on one of these."
    )
    head: ClassifierBlock = Field(ClassifierBlock(), description="The head and its training.")
    seed: Seed | None = Field(None, description="Its seed; null: the configuration's.")


class EvaluationBlock(Settings):
    """Block ``evaluation``."""

    bootstrap: WholeNumber = Field(1000, description="Resamples for the confidence intervals.")
    radius_um: Positive = Field(
        3.0, description="A predicted centroid within this of a true one is a hit, um (12 px at 0.25 um/px)."
    )
    dead: Literal["exclude", "wrong"] = Field(
        "exclude",
        description="A matched nucleus predicted as a class that expression cannot tell (Dead): exclude or wrong.",
    )
    allow_shared_donors: Annotated[list[Name], Distinct] = Field(
        [], description="Donors that may be trained on and scored: said in every table (see config/paper)."
    )
    allow_pannuke_organs: Annotated[list[Name], Distinct] = Field(
        [], description="Held-out organs that PanNuke-trained models may have seen: said in every table."
    )


class ReportBlock(Settings, block="report"):
    """Block ``report``."""

    max_mb: Positive = Field(
        25, description="A larger report.html holds its first page alone; report.zip always holds all pages, MB."
    )


class ResourcesBlock(Settings, block="resources"):
    """Block ``resources``."""

    max_mem_mb: Annotated[int, Field(ge=1000)] = Field(120000, description="No job asks for more, MB.")
    max_runtime_min: Count = Field(2880, description="Nor for longer, min.")
    gpu: WholeNumber = Field(1, description="GPUs a GPU job asks for; 0 trains and predicts on the CPU.")


class SimulateBlock(Settings, block="simulate"):
    """Block ``simulate``: slides that the workflow's simulator makes first (the demo)."""

    folder: Name = Field(description="Where they are written.")
    samples: dict[FolderName, dict[str, Any]] = Field(description="Name: settings of simulate_sample.")
    pannuke: dict[str, Any] | None = Field(None, description="Settings of simulate_pannuke; null: not simulated.")


_ST_MODEL = ModelEntry(
    train=[SampleSource(samples="train", labels="stnuclei")],
    validation=[SampleSource(samples="val", labels="stnuclei")],
)


class Configuration(Settings):
    """The whole configuration, `config/config.yaml`."""

    samples: Name = Field("config/samples.tsv", description="Table of samples, one row a section with its slide.")
    results: Name = Field("results", description="Where everything is written.")
    taxonomy: Name = Field("pannuke", description="pannuke, lizard, puma, or a path to a YAML file.")
    seed: Seed = Field(19, description="Reaches everything random.")
    slides: SlidesBlock = Field(SlidesBlock(), description="Reading a sample's slide and counts.")
    regions: RegionsBlock = Field(RegionsBlock(), description="Regions drawn by hand.")
    hest: HestBlock = Field(HestBlock(), description="Downloads of HEST-1k.")
    markers: MarkersBlock = Field(MarkersBlock(), description="Originals of the marker tables.")
    tissue: TissueBlock = Field(TissueBlock(), description="Tissue map.")
    alignment: AlignmentBlock = Field(AlignmentBlock(), description="Check of nuclei against haematoxylin.")
    clustering: ClusteringBlock = Field(ClusteringBlock(), description="Clusters and ranked genes.")
    labels: LabelsBlock = Field(LabelsBlock(), description="Label methods.")
    patches: CutSettings = Field(CutSettings(), description="Cutting of patches.")
    pannuke: PannukeBlock = Field(PannukeBlock(), description="The manually annotated set.")
    training: TrainingBlock = Field(TrainingBlock(), description="Training, CellViT's PanNuke recipe.")
    models: Annotated[dict[FolderName, ModelEntry], Field(min_length=1)] = Field(
        {"st": _ST_MODEL}, description="CellViTs to train, by name; a configuration's replace the shipped ones."
    )
    classifiers: dict[FolderName, ClassifierEntry] = Field(
        {}, description="Cell classifiers on the tokens of models, by name."
    )
    prediction: PredictionBlock = Field(PredictionBlock(), description="Prediction on scored patches.")
    slides_table: str = Field("config/slides.tsv", description="Table of H&E slides to segment; no rows: none.")
    segmentation: SegmentationBlock = Field(SegmentationBlock(), description="Segmentation of these slides.")
    evaluation: EvaluationBlock = Field(EvaluationBlock(), description="Scores.")
    expression: ExpressionBlock = Field(ExpressionBlock(), description="The single-patch expression baseline.")
    report: ReportBlock = Field(ReportBlock(), description="The report.")
    resources: ResourcesBlock = Field(ResourcesBlock(), description="Bounds of jobs.")
    simulate: SimulateBlock | None = Field(None, description="Simulated slides (the demo).")

    def to_dict(self, given: bool = False) -> dict[str, Any]:
        """Plain content; entries of models hold what they were given, since the rest comes from the common blocks."""
        content = super().to_dict(given)
        content["models"] = {name: entry.to_dict(given=True) for name, entry in self.models.items()}
        models = {name: entry.to_dict(given=True) for name, entry in self.expression.models.items()}
        content.setdefault("expression", {})["models"] = models
        if self.simulate is None:
            content.pop("simulate", None)
        return content


def with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `config` over `defaults`, block by block; lists and scalars replace, and so does ``models``."""
    merged = copy.deepcopy(dict(defaults))
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in _REPLACED:
            merged[key] = with_defaults(value, merged[key])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a whole configuration and fill in what it leaves out.

    Parameters
    ----------
    config
        The merged configuration.

    Returns
    -------
    Plain content with every setting.

    Raises
    ------
    UserError
        With one line a problem: the key, what is wrong, and for an unknown key the nearest known one.
    """
    checked = check(Configuration, config, "the configuration").to_dict()
    refuse("the configuration", [*_path_problems(checked), *_taxonomy_problems(checked["taxonomy"])])
    return checked


def _taxonomy_problems(taxonomy: str) -> list[str]:
    """Problems of the classes that every job needs."""
    try:
        Taxonomy.load(taxonomy)
    except UserError as error:
        return [f"taxonomy: {error}"]
    return []


def _path_problems(content: Any, key: str = "") -> Iterator[str]:
    """Problems of paths and of names that become folders, wherever they stand."""
    for name, value in content.items() if isinstance(content, Mapping) else ():
        inner = f"{key}.{name}" if key else str(name)
        if key in _FOLDER_NAMES and not is_file_name(str(name)):
            yield f"{inner}: use letters, digits, '_', '-' and '.' only: it names a folder"
        if isinstance(value, str) and (name in _PATHS or key in _PATH_BLOCKS) and set("{}\n\r\t\0") & set(value):
            yield f"{inner}: {value!r} has braces, which stand for names here, or a line break; rename the file"
        yield from _path_problems(value, inner)

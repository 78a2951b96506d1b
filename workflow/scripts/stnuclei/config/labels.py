"""Settings of clustering and of every label method; a method's keyword arguments are the fields of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from stnuclei.config.model import Count, Distinct, Flag, Fraction, Name, NotNegative, Positive, Settings

#: Label method -> the module that registers it, imported on first use: some import heavy libraries (scvi, decoupler).
METHODS = {
    "stnuclei": "stnuclei.labels.evidence.model",
    "paper": "stnuclei.labels.paper.method",
    "paper_no_refinement": "stnuclei.labels.paper.method",
    "topdown": "stnuclei.labels.baselines.topdown",
    "ucell": "stnuclei.labels.baselines.ucell",
    "aucell": "stnuclei.labels.baselines.aucell",
    "cellassign": "stnuclei.labels.baselines.cellassign",
    "own": "stnuclei.labels.own",
}
if TYPE_CHECKING:  # mypy takes no Literal of names that are computed
    Method: TypeAlias = str
else:
    Method = Literal[tuple(METHODS)]


class ClusteringBlock(Settings, block="clustering"):
    """Block ``clustering``: from counts to clusters and their ranked genes."""

    resolution: Positive = Field(4.0, description="r of Leiden's modularity.")
    n_pcs: Annotated[int, Field(ge=2)] = Field(50, description="Principal components.")
    n_neighbors: Annotated[int, Field(ge=2)] = Field(15, description="Neighbours in PC space, the cell included.")
    min_cluster_cells: Count = Field(
        10, description="Smaller clusters are merged into the one they are tied to most; 1: none are."
    )
    n_ranked: Count = Field(100, description="Ranked genes kept a cluster.")
    leiden: Literal["igraph", "leidenalg"] = Field(
        "igraph", description="Implementation; leidenalg is slower, and scanpy's documented default of 2024."
    )
    n_iterations: Annotated[int, Field(ge=-1)] = Field(
        2, description="Rounds of Leiden; -1: until nothing changes (scanpy's documented default with leidenalg)."
    )


class PaperSettings(Settings, block="labels.paper"):
    """Block ``labels.paper``: the published method (arXiv 2604.23481, section 4.1)."""

    n_genes: Count = Field(10, description="N, ranked genes that vote, with weight N - l.")
    min_votes: NotNegative = Field(5, description="tau_vote, below it all organs are asked.")
    n_cancer_genes: Count = Field(20, description="M, ranked genes held against the cancer set.")
    cancer_ratio: Fraction = Field(0.25, description="tau_cancer: a larger fraction makes a cluster neoplastic.")
    cancer_set: Name = Field("A3", description="Cancer genes; A3: CellMarker's Cancer cell rows and CancerSEA.")
    count: Literal["rows", "cell_types"] = Field(
        "rows", description="A vote is a row of a database, or a distinct cell type."
    )
    max_list_size: Count | None = Field(
        None, description="Leave out facts that only longer single-paper lists give; null: none left out."
    )
    shared_organs: Flag = Field(
        True, description="Ask the organs that every tissue shares (immune, connective, vessels, ...) with its own."
    )
    unknown_lineages: Flag = Field(
        False,
        description="Cell types that say nothing of lineage (malignant, stem, EMT) vote Unknown; false: not at all.",
    )


class EvidenceSettings(Settings, block="labels.stnuclei"):
    """Block ``labels.stnuclei``: the default method."""

    level: Fraction = Field(0.05, description="False discovery rate of the clusters' lineages.")
    prior_rows: Positive = Field(10.0, description="Marker rows that the panel's background is worth.")
    prior_rows_malignant: Positive = Field(10.0, description="The same for malignancy.")
    cluster_weight: Positive = Field(50.0, description="Counts that a cell's cluster is worth beside its own.")
    overdispersion: NotNegative = Field(0.08, description="A cell of n counts is worth n / (1 + n x this).")
    malignant_threshold: float = Field(0.0, description="Score above which epithelium is malignant.")
    malignant_fraction: Fraction = Field(0.2, description="Least fraction of it, where the disease is not given.")


class SignatureSettings(Settings, block="labels.topdown"):
    """Settings that the baselines share: one gene set a category."""

    cancer_set: Name = Field("REC2", description="Cancer genes of the category Neoplastic.")
    min_fraction: Fraction = Field(0.0, description="Fraction of a gene's rows that must be of the category.")
    max_list_size: Count | None = Field(
        100, description="Leave out facts that only longer single-paper lists give; null: none left out."
    )
    parameters: Literal["panel", "package"] = Field(
        "panel", description="Values below that are null: such as suit a panel, or the package's own defaults."
    )


class TopdownSettings(SignatureSettings):
    """Block ``labels.topdown``: mean expression less that of control genes (Tirosh et al. 2016)."""

    n_controls: Count | None = Field(None, description="Control genes of a gene; null: 100, package: scanpy's 50.")
    n_bins: Count = Field(25, description="Bins of average expression they are drawn from.")


class UcellSettings(SignatureSettings, block="labels.ucell"):
    """Block ``labels.ucell``."""

    max_rank: Count | None = Field(None, description="Ranks counted; null: by the panel, package: UCell's 1500.")


class AucellSettings(SignatureSettings, block="labels.aucell"):
    """Block ``labels.aucell``."""

    n_top: Count | None = Field(
        None, description="Genes of the ranking that count; null: by the panel, package: 5 % of it."
    )


class CellassignSettings(SignatureSettings, block="labels.cellassign"):
    """Block ``labels.cellassign``: the model fitted in closed form, or (package) by scvi-tools."""

    min_excess: NotNegative = Field(0.0, description="Smallest log fold change of a marker (package: 2).")
    n_iterations: Count = Field(50, description="Rounds of the fit at most.")
    n_fit: Count | None = Field(None, description="Package: cells the model is fitted on; null: all.")
    max_epochs: Count = Field(400, description="Package: epochs of the fit at most.")


class LabelsBlock(Settings, block="labels"):
    """Block ``labels``."""

    methods: Annotated[list[Method], Distinct] = Field(
        ["stnuclei", "paper"], description="Label sets made for every slide; the models' are added."
    )
    paper: PaperSettings = Field(PaperSettings(), description="The published method, and its ablation.")
    stnuclei: EvidenceSettings = Field(EvidenceSettings(), description="The default method.")
    topdown: TopdownSettings = Field(TopdownSettings(), description="Baseline TopDown.")
    ucell: UcellSettings = Field(UcellSettings(), description="Baseline UCell.")
    aucell: AucellSettings = Field(AucellSettings(), description="Baseline AUCell.")
    cellassign: CellassignSettings = Field(CellassignSettings(), description="Baseline CellAssign.")

"""Labelled cells that methods are measured on: real sections, their normal cells alone, pseudo-cells, smaller panels.

The files are development data (environment variable STNUCLEI_SHARED, by default ../shared) and no part of the project;
their README says where each comes from and what its labels are worth.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

SHARED = Path(os.environ.get("STNUCLEI_SHARED", Path(__file__).resolve().parents[2] / "shared"))
CLASSES = ("Neoplastic", "Inflammatory", "Connective", "Epithelial")
UNKNOWN = "Unknown"
# The merfish authors do not split tumour from normal epithelium: both answers are right.
EITHER = "Neoplastic_or_Epithelial"
LUNG_PANELS = ("hLung", "hMulti", "hescape_lung-healthy")
NORMAL_LUNG = ("Alveolar cell type 1", "Alveolar cell type 2", "Club", "Ciliated", "ROS1+ healthy epithelial")


@dataclass(frozen=True)
class LabelledSet:
    """Cells of one section with their classes.

    Parameters
    ----------
    name
        Short name of the set.
    unit
        Sets of one tumour or slide share a unit; constants are chosen on other units.
    tissue
        Name in the tissue map.
    cells
        Cells x genes, raw counts; ``obs["truth"]`` is the class, Unknown for cells left out of the scores.
    """

    name: str
    unit: str
    tissue: str
    cells: anndata.AnnData

    def only(self, kept: np.ndarray, name: str) -> LabelledSet:
        """Set of some of the cells (bool or rows) or, of all cells, under another name."""
        return replace(self, name=name, cells=self.cells[kept].copy())

    @property
    def truth(self) -> np.ndarray:
        """Class of each cell, object (n_cells,)."""
        return self.cells.obs["truth"].to_numpy().astype(object)


def janesick_rep1() -> LabelledSet:
    """Breast tumour of Janesick et al. 2023, 3,878 cells, 313 genes."""
    table = anndata.read_h5ad(SHARED / "data/janesick_breast_rep1_labelled/rep1_matched_3878cells_313genes.h5ad")
    classes = pd.read_csv(SHARED / "markers/janesick2023_xenium_breast_labels.tsv", sep="\t")
    truth = table.obs["cell_type"].astype(str).map(classes.set_index("label")["pannuke_class"])
    return _labelled("janesick rep1", "janesick", "Breast", table, truth)


def _proposed(file: str, name: str, unit: str, tissue: str) -> LabelledSet:
    table = anndata.read_h5ad(SHARED / "data/labelled" / file)
    return _labelled(name, unit, tissue, table, table.obs["proposed_class"])


def scrna_on_panel() -> LabelledSet:
    """scRNA-seq of a breast tumour, cut to the 271 genes of the Xenium breast panel it has."""
    table = anndata.read_h5ad(SHARED / "data/labelled/scrna_tnbc_wu2021_CID4465.h5ad")
    kept = table[:, table.var["in_xenium_breast313"].to_numpy(bool)].copy()
    return _labelled("scrna tnbc", "scrna", "Breast", kept, kept.obs["proposed_class"])


def lung_pseudo_cells(
    panels: tuple[str, ...] = LUNG_PANELS, *, seed: int = 0, n_cells: int = 6000, with_tumour: bool = True
) -> LabelledSet:
    """Pseudo-cells of 38 lung cell types on Xenium panels.

    A cell takes its type's mean profile with gamma noise a gene (shape 2: cells of a type differ), 5 % of another
    cell's profile (spillover) and Poisson counts around a log-normal depth of 120. Classes are drawn about evenly,
    types evenly within their class, dividing ones a tenth as often (they are rare in tissue).

    Parameters
    ----------
    panels
        Names in ``markers/xenium_panels.tsv.gz`` whose genes are taken together, as far as the profiles have them.
    seed
        Seed of everything drawn.
    n_cells
        Cells drawn.
    with_tumour
        False leaves the tumour cells out: all that is then called Neoplastic is a false positive.
    """
    rng = np.random.default_rng(seed)
    profiles = pd.read_csv(SHARED / "data/labelled/luca_nsclc_profiles_38types_929genes.csv", index_col=0)
    profiles = profiles[sorted(c for c in profiles if with_tumour or c != "Tumor cells")]
    profiles = profiles[profiles.index.isin(panel_genes(panels))]
    classes = np.array([_lung_class(name) for name in profiles])
    weights = np.array([0.1 if "dividing" in name else 1.0 for name in profiles])
    drawn = np.unique(classes)
    chances = [weights * (classes == name) / weights[classes == name].sum() for name in drawn]
    kinds = np.concatenate([rng.choice(len(classes), n_cells // len(drawn), p=chance) for chance in chances])
    fractions = (profiles / profiles.sum()).to_numpy().T
    noise = rng.gamma(2.0, 0.5, (len(kinds), len(profiles)))
    rates = fractions[kinds] * noise * 0.95 + 0.05 * fractions[rng.permutation(kinds)]
    depth = rng.lognormal(np.log(120), 0.5, len(kinds))[:, None]
    counts = rng.poisson(depth * rates / rates.sum(axis=1, keepdims=True))
    obs = pd.DataFrame({"cell_type": profiles.columns[kinds]}, index=[f"pseudo{i}" for i in range(len(kinds))])
    table = anndata.AnnData(
        sparse.csr_matrix(counts, dtype=np.float32), obs=obs, var=pd.DataFrame(index=profiles.index)
    )
    name = "lung pseudo-cells" if with_tumour else "normal lung pseudo-cells"
    return _labelled(name, "luca", "Lung", table, pd.Series(classes[kinds], index=obs.index))


def panel_genes(panels: tuple[str, ...]) -> set[str]:
    """Genes of Xenium panels, together."""
    table = pd.read_csv(SHARED / "markers/xenium_panels.tsv.gz", sep="\t")
    return set(table.loc[table["panel"].isin(panels), "symbol"])


def _lung_class(name: str) -> str:
    """Class of a lung cell type's name."""
    if name == "Tumor cells":
        return "Neoplastic"
    if name in NORMAL_LUNG or name.startswith("transitional"):
        return "Epithelial"
    stromal = ("Endothelial", "Fibroblast", "Mesothelial", "Pericyte", "Smooth muscle", "stromal")
    return "Connective" if name.startswith(stromal) else "Inflammatory"


def _labelled(name: str, unit: str, tissue: str, table: anndata.AnnData, truth: pd.Series) -> LabelledSet:
    cells = anndata.AnnData(sparse.csr_matrix(table.X, dtype=np.float32), obs=table.obs[["cell_type"]].copy())
    cells.var_names, cells.obs_names = table.var_names.astype(str), table.obs_names.astype(str)
    cells.obs["truth"] = truth.astype(str).to_numpy()
    if "spatial" in table.obsm:
        cells.obsm["spatial"] = np.asarray(table.obsm["spatial"], dtype=np.float64)
    return LabelledSet(name, unit, tissue, cells)


SETS: dict[str, Callable[[], LabelledSet]] = {
    "janesick rep1": janesick_rep1,
    "janesick region B": lambda: _proposed(
        "xenium_breast_janesick_rep1_regionB.h5ad", "janesick region B", "janesick", "Breast"
    ),
    "janesick rep2": lambda: _proposed("xenium_breast_janesick_rep2.h5ad", "janesick rep2", "janesick", "Breast"),
    "nuclear counts": lambda: _proposed("xenium_breast_pace_subset.h5ad", "nuclear counts", "janesick", "Breast"),
    "idc add-on": lambda: _proposed("xenium_breast_idc_addon_scider.h5ad", "idc add-on", "scider", "Breast"),
    "scrna tnbc": scrna_on_panel,
    "merfish lung": lambda: _proposed("merfish_nsclc_chen2024_p002.h5ad", "merfish lung", "merfish", "Lung"),
    "lung pseudo-cells": lung_pseudo_cells,
}


def normal_sets() -> list[LabelledSet]:
    """Cells of tumour sections less their tumour cells, and normal lung on four panels: none is Neoplastic."""
    rest = []
    for name in ("janesick rep1", "janesick region B", "janesick rep2", "nuclear counts", "scrna tnbc"):
        section = SETS[name]()
        rest.append(section.only(section.truth != "Neoplastic", f"{name}, normal cells"))
    for seed, panels in enumerate((LUNG_PANELS, ("hIO",), ("hPrime5K",), ("hColon", "hLung"))):
        lung = lung_pseudo_cells(panels, seed=seed, with_tumour=False)
        rest.append(replace(lung, name=f"normal lung, {'+'.join(panels)}"))
    return rest


def on_genes(section: LabelledSet, genes: set[str], name: str) -> LabelledSet:
    """Set cut to a panel; cells left without counts are dropped."""
    cut = section.cells[:, section.cells.var_names.isin(sorted(genes))]
    kept = np.asarray(cut.X.sum(axis=1)).ravel() > 0
    return replace(section, name=name, cells=cut[kept].copy())


def null_sets(section: LabelledSet, n_shuffled: int, seed: int = 0) -> list[LabelledSet]:
    """Copies with gene names dealt out at random, and one with each gene's counts dealt out over the cells."""
    rng = np.random.default_rng(seed)
    copies = []
    for number in range(n_shuffled):
        cells = section.cells.copy()
        cells.var_names = rng.permutation(section.cells.var_names.to_numpy())
        copies.append(replace(section, name=f"names shuffled {number}", cells=cells))
    noise = section.cells.copy()
    noise.X = sparse.csr_matrix(rng.permuted(section.cells.X.toarray(), axis=0))
    kept = np.asarray(noise.X.sum(axis=1)).ravel() > 0
    return [*copies, replace(section, name="counts shuffled", cells=noise[kept].copy())]

"""Made-up data under the file names of config/paper, small: HEST-1k, PanNuke, the annotated section, HIPT's weights."""

import argparse
from pathlib import Path

import pandas as pd
import torch

from paths import ROOT
from stnuclei.cellvit import build_model
from stnuclei.simulate import simulate_hest, simulate_pannuke, simulate_sample

PAPER = ROOT / "config" / "paper"
#: Rows of config/paper/samples.tsv, one a role, and the organ that the simulator paints in its place.
HEST = {"NCBI785": "Breast", "TENX119": "Kidney"}
ANNOTATED = "breast_rep1"
SHEET = "Xenium R1 Fig1-5 (supervised)"
#: Fine types of the simulator -> names of the published annotation; all others are Unlabeled.
PUBLISHED_NAMES = {
    "Tumour": "Invasive_Tumor",
    "Proliferating tumour": "Prolif_Invasive_Tumor",
    "Luminal epithelial": "DCIS_1",
    "Myoepithelial": "Myoepi_ACTA2+",
    "CD4 T cell": "CD4+_T_Cells",
    "CD8 T cell": "CD8+_T_Cells",
    "B cell": "B_Cells",
    "Macrophage": "Macrophages_1",
    "Fibroblast": "Stromal",
    "Endothelial": "Endothelial",
}


def write_paper_data(folder: Path, size_um: tuple[float, float] = (190.0, 190.0)) -> None:
    """Write all that the paper's configuration reads: one slide a role, and every file of these rows."""
    table = pd.read_csv(PAPER / "samples.tsv", sep="\t", dtype=str, keep_default_na=False)
    rows = table[table["sample"].isin([*HEST, ANNOTATED])]
    assert set(rows["split"]) == set(table["split"]) and set(rows["platform"]) == set(table["platform"])
    (folder / "config" / "paper").mkdir(parents=True)
    rows.to_csv(folder / "config" / "paper" / "samples.tsv", sep="\t", index=False)
    for seed, (key, organ) in enumerate(HEST.items(), start=3):
        simulate_hest(folder / "hest_data", key, organ, seed, size_um=size_um)
    bundle = folder / "xenium_breast_rep1"
    simulate_sample(bundle, "Breast", 7, layout="xoa1", size_um=size_um, annotated=True)
    cells = pd.read_csv(bundle / "annotation.csv")
    names = cells["label"].map(PUBLISHED_NAMES).fillna("Unlabeled")
    sheet = pd.DataFrame({"Barcode": cells["cell_id"], "Cluster": names})
    sheet.to_excel(bundle / "Cell_Barcode_Type_Matrices.xlsx", sheet_name=SHEET, index=False)
    simulate_pannuke(folder / "pannuke", 5, patches_per_fold=2, folds=3, tissues=("Breast", "Colon"))
    write_hipt_weights(folder / "weights" / "vit256_small_dino.pth")


def write_hipt_weights(path: Path) -> None:
    """Random weights of the tiny encoder as HIPT's file holds its own: student and teacher of DINO, with their head."""
    path.parent.mkdir()
    encoder = build_model("cellvit-tiny").encoder.state_dict()
    head = {"module.head.mlp.0.weight": torch.ones(2, 2)}
    given = {f"module.backbone.{name}": value for name, value in encoder.items()} | head
    content = {"student": given, "teacher": given, "args": argparse.Namespace(arch="vit_small"), "epoch": 400}
    torch.save(content, path)

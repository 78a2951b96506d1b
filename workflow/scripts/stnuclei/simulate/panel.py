"""Gene panels, what each cell type expresses, and counts: negative binomial, with ambient and neighbours' molecules."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from stnuclei.simulate.organs import Organ

#: Programmes that every tissue's panel holds, the loudest genes first. Symbols as on public Xenium panels.
COMMON: dict[str, str] = {
    "epithelial": "EPCAM CDH1 KRT8 KRT18 KRT19",
    "proliferation": "MKI67 CDK1 RRM2 TK1 TOP2A CENPF UBE2C PCNA",
    "leukocyte": "PTPRC CXCR4 CD69",
    "t_cell": "CD3D CD3E CD3G CD2 TRAC TRBC1 CD247 CD5 LCK CD6 SKAP1 CD96",
    "cd4": "CD4 IL7R CCR7 TCF7 LEF1 FOXP3 CTLA4 IL2RA ICOS CD28 CD40LG SELL",
    "cd8": "CD8A CD8B GZMK GZMA GZMB PRF1 NKG7 CCL5 KLRD1 GNLY CST7 KLRB1",
    "b_cell": "MS4A1 CD19 CD79A CD79B BANK1 PAX5 CD22 FCER2 CR2 BLK CXCR5 CD37 VPREB3 TNFRSF13C FCRLA TCL1A",
    "plasma": "MZB1 JCHAIN TNFRSF17 DERL3 IGHG1 IGKC IGHA1 CD38 PRDM1 POU2AF1 CD27 SLAMF7 FKBP11 SDC1",
    "macrophage": "CD68 CD163 CD14 LYZ C1QA C1QB C1QC MRC1 CSF1R AIF1 FCGR3A MS4A7 MS4A4A MS4A6A VSIG4 ITGAX CD86 "
    "FCGR1A TYROBP LST1 CYBB TREM2 SIGLEC1 FOLR2",
    "mast": "CPA3 TPSAB1 TPSB2 MS4A2 HDC CMA1 CTSG HPGDS IL1RL1 SLC18A2 FCER1A SIGLEC6",
    "fibroblast": "COL1A1 COL1A2 COL3A1 DCN LUM PDGFRA FBLN1 DPT MMP2 POSTN FAP COL5A1 COL6A3 MFAP5 C7 FBN1 PI16 OGN "
    "ASPN SCARA5 SFRP2 SFRP4 CCDC80 LRRC15 FGF7 THBS2",
    "stroma": "THY1 SPARC BGN FN1",
    "endothelial": "PECAM1 VWF CDH5 KDR CLDN5 ENG EMCN PLVAP ERG EGFL7 TEK FLT1 MMRN2 CLEC14A ECSCR SOX18 ACKR1 CD93 "
    "CALCRL ADGRL4 NOSTRIN CD34",
    "mural": "ACTA2 TAGLN MYH11",
    "pericyte": "RGS5 PDGFRB MCAM CSPG4 NOTCH3 KCNJ8 ABCC9 HIGD1B COX4I2 CD248 NDUFA4L2 STEAP4 ANGPT1",
    "muscle": "DES CNN1 LMOD1 SMTN PLN KCNMB1 HHIP ITGA8 CALD1 SYNPO2 CASQ2 MYOCD",
    "housekeeping": "ADAM9 ANKRD28 CCDC6 CCPG1 DAPK3 DNTTIP1 ERN1 HOOK2 LGALSL PELI1 SMAP2 SVIL TOMM7 TRAPPC3 USP53 "
    "VOPP1 ZNF562 SEC24A TMEM147 THAP2 RAB30 TIFA",
}

#: Programmes of one organ: its normal epithelium by cell type, and its tumour.
LOCAL: dict[str, dict[str, str]] = {
    "Breast": {
        "Luminal epithelial": "KRT23 PIP KIT PIGR LTF SLPI BTN1A1 CSN3 CSN2 EHF SCGB2A2 SCGB2A1 SCGB1D2 MUCL1 AGR3 "
        "ELF5 DNAJC12 OPRPN MYBPC1 SERHL2 CLIC6 LALBA CITED4 HPX",
        "Myoepithelial": "KRT14 TP63 KRT5 KRT17 DST SFRP1 SYNM OXTR CALML5 RBP1 IL17B COL17A1 LAMB3 SERPINB5 CLDN1 "
        "CAPN13 C5orf46 C6orf132 TSHZ2 LAMA3 TRIM29 FAT2 PKP1 SAA1",
        "tumour": "ERBB2 CD24 PROM1 CEACAM6 EGFR MYC SOX9 CCND1 XBP1 MET CEACAM5 ALDH1A3 CLDN3 CLDN7 TFF1 MDM2 CD47 "
        "TFF3 TACSTD2 CCNE1 ESR1 FOXA1 MUC1 AGR2 CD9 HMGA1",
    },
    "Colon": {
        "colon": "PHGR1 LGALS4 LYPD8 TSPAN8 TSPAN1 HNF4A CES2 NXPE1 PRAP1 TMEM37",
        "Enterocyte": "CA1 KRT20 GUCA2A FABP1 SLC26A3 SLC26A2 AQP8 GUCA2B BEST4 OTOP2 MS4A12 CEACAM7 FABP2 TMIGD1 "
        "CDHR5 MUC12 SELENBP1 UGT2B17 UGT2A3 SULT1B1 ADH1C NXPE4 CA4 CA7",
        "Goblet": "MUC2 SPINK4 ITLN1 ZG16 FCGBP CLCA1 SPDEF REP15 RETNLB BCAS1 GALNT5 HEPACAM2 GALNT8 BEST2 "
        "CREB3L1 DNAJC12 ANO7 FFAR4 FOXA3",
        "Crypt stem": "LGR5 OLFM4 SMOC2 LEFTY1 EPHB3 IMPDH2 STXBP6 C1QBP CYP2W1 KCNE3 PPP1R1B NR2F6 SLC39A2",
        "tumour": "CEACAM5 CEACAM6 CDX2 CDH17 ASCL2 SOX9 AXIN2 EGFR MYC CCND1 CLDN4 CLDN3 GPX2 MUC1 MUC13 EPHB2 AGR2 "
        "TFF3 FERMT1 MMP7 HMGA1 CLDN7 ELF3 SLC12A2 PROM1 KRT7",
    },
    "Kidney": {
        "Proximal tubule": "LRP2 CUBN SLC34A1 SLC22A6 SLC22A8 SLC5A2 SLC5A12 SLC13A3 GATM MIOX PDZK1 SLC3A1 SLC7A13 "
        "NAT8 TMEM174 SLC22A12 GGT1 ALDOB",
        "Distal tubule": "UMOD SLC12A1 SLC12A3 CALB1 TRPM6 CLDN16 CLDN8 KNG1 TMEM52B KCNJ1 KCNJ10 CLCNKB BSND WNK1 "
        "PTGER3 ESRRB CDH16 EGF",
        "Collecting duct": "AQP2 SCNN1G SCNN1B FXYD4 ATP6V0D2 TMEM213 ATP6V1G3 SCNN1A AVPR2 HSD11B2 AQP6 AQP3 SLC4A1 "
        "RHCG ATP6V1B1 KCNE1 DMRT2 CLCNKA TFCP2L1",
        "tumour": "CA9 PROM1 PAX8 PAX2 MET ANPEP AQP1 EGFR NDRG1 CLDN3 CLDN7 SOX9 MYC SLC2A1 ANGPTL4 CP CCND1 MUC1 "
        "CD47 TGFBI TACSTD2 ELF3 CLDN4 KRT7 DEFB1 CEACAM1",
    },
}

#: Cell type -> programmes with their weights. Types of normal epithelium use the programme of their own name.
_TYPES: dict[str, dict[str, float]] = {
    # Kidney tumours keep some of what the proximal tubule expresses; other organs have no such programme.
    "Tumour": {"epithelial": 1.8, "tumour": 1.0, "Proximal tubule": 0.25},
    "Proliferating tumour": {"epithelial": 1.8, "tumour": 1.0, "Proximal tubule": 0.25, "proliferation": 0.25},
    "CD4 T cell": {"leukocyte": 0.8, "t_cell": 1.0, "cd4": 0.8},
    "CD8 T cell": {"leukocyte": 0.8, "t_cell": 1.0, "cd8": 0.9},
    "B cell": {"leukocyte": 0.8, "b_cell": 1.0},
    "Plasma cell": {"leukocyte": 0.3, "plasma": 1.2},
    "Macrophage": {"leukocyte": 0.6, "macrophage": 1.0},
    "Mast cell": {"leukocyte": 0.5, "mast": 1.2},
    "Fibroblast": {"fibroblast": 1.0, "stroma": 1.0},
    "Endothelial": {"endothelial": 1.0, "stroma": 0.3},
    "Pericyte": {"pericyte": 1.0, "mural": 0.8, "stroma": 0.4},
    "Smooth muscle": {"muscle": 1.0, "mural": 1.8, "stroma": 0.2},
    "Dead": {"housekeeping": 0.3},
}
_NORMAL = {"epithelial": 0.35, "colon": 0.8}
#: Transcripts of a typical cell, relative to the tissue's median: big cells hold more.
_DEPTH = {
    "Tumour": 1.5, "Proliferating tumour": 1.8, "CD4 T cell": 0.6, "CD8 T cell": 0.6, "B cell": 0.6,
    "Plasma cell": 1.0, "Macrophage": 1.0, "Mast cell": 0.8, "Endothelial": 0.9, "Pericyte": 0.8, "Dead": 0.3,
}  # fmt: skip

_MEDIAN_TRANSCRIPTS = 170.0  # of a cell
_AMBIENT, _SPILL = 0.05, 0.12  # fractions of a cell's transcripts from the whole slide and from its nearest neighbours
_EMPTY = 0.02  # fraction of cells without any transcript


def programmes(organ: Organ) -> dict[str, list[str]]:
    """All programmes of an organ's panel, each as a list of symbols."""
    return {name: genes.split() for name, genes in {**COMMON, **LOCAL[organ.name]}.items()}


def panel(organ: Organ) -> list[str]:
    """Genes of the organ's panel, sorted, each once."""
    return sorted({gene for genes in programmes(organ).values() for gene in genes})


def weights(organ: Organ, cell_type: str) -> dict[str, float]:
    """Programme -> weight of one cell type."""
    programme_weights = _TYPES.get(cell_type, {cell_type: 1.0, **_NORMAL})
    return {
        name: weight
        for name, weight in {"housekeeping": 0.12, **programme_weights}.items()
        if name in programmes(organ)
    }


def profiles(organ: Organ) -> tuple[list[str], list[str], np.ndarray]:
    """Expression profile of each cell type.

    Returns
    -------
    Cell types, genes, and float64 (types, genes): fractions of a cell's transcripts, each row summing to 1.
    """
    genes, types = panel(organ), sorted(organ.classes())
    column_of = {gene: k for k, gene in enumerate(genes)}
    members = programmes(organ)
    # One fixed strength a gene, the same in every slide of the organ: some markers are loud, some faint.
    wobble = np.exp(0.30 * np.random.default_rng(2604).standard_normal(len(genes)))
    matrix = np.full((len(types), len(genes)), 0.002)
    for row, cell_type in enumerate(types):
        for name, weight in weights(organ, cell_type).items():
            columns = [column_of[gene] for gene in members[name]]
            loudness = np.linspace(1.5, 0.5, len(columns))  # programmes name their loudest genes first
            matrix[row, columns] += weight * loudness * wobble[columns]
    return types, genes, matrix / matrix.sum(axis=1, keepdims=True)


def draw_counts(
    organ: Organ, cell_types: list[str], xy: np.ndarray, rng: np.random.Generator
) -> tuple[csr_matrix, list[str]]:
    """Draw the count matrix of one slide.

    Parameters
    ----------
    organ
        Gives panel and profiles.
    cell_types
        Fine type of every cell.
    xy
        Centroids in um, (n, 2).
    rng
        Where the numbers come from.

    Returns
    -------
    Counts, int32 CSR (cells, genes), and the genes.
    """
    types, genes, profile = profiles(organ)
    row = np.array([types.index(cell_type) for cell_type in cell_types])
    expected = profile[row] * rng.gamma(2.0, 0.5, (len(row), len(genes)))  # negative binomial: dispersion 0.5 a gene
    near = cKDTree(xy).query(xy, k=min(4, len(xy)))[1][:, 1:]
    mean = profile[row].mean(axis=0)
    fraction = (1 - _AMBIENT - _SPILL) * expected + _AMBIENT * mean + _SPILL * profile[row[near]].mean(axis=1)
    size = np.array([_DEPTH.get(cell_type, 0.9) for cell_type in cell_types])
    size = _MEDIAN_TRANSCRIPTS * size * np.exp(0.45 * rng.standard_normal(len(row)))
    size[rng.permutation(len(row))[: round(_EMPTY * len(row))]] = 0.0
    counts = rng.poisson(fraction * size[:, None]).astype(np.int32)
    return csr_matrix(counts), genes

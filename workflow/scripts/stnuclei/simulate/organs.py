"""Organs the simulator knows: their architecture and their cells."""

from __future__ import annotations

from dataclasses import dataclass

from stnuclei.errors import UserError

#: Fine cell type -> (PanNuke class, style of its nucleus); shared by all organs.
COMMON_CELLS: dict[str, tuple[str, str]] = {
    "Tumour": ("Neoplastic", "tumour"),
    "Proliferating tumour": ("Neoplastic", "tumour"),
    "CD4 T cell": ("Inflammatory", "lymphocyte"),
    "CD8 T cell": ("Inflammatory", "lymphocyte"),
    "B cell": ("Inflammatory", "lymphocyte"),
    "Plasma cell": ("Inflammatory", "plasma"),
    "Macrophage": ("Inflammatory", "macrophage"),
    "Mast cell": ("Inflammatory", "plasma"),
    "Fibroblast": ("Connective", "spindle"),
    "Endothelial": ("Connective", "endothelial"),
    "Pericyte": ("Connective", "endothelial"),
    "Smooth muscle": ("Connective", "muscle"),
    "Dead": ("Dead", "dead"),
}


@dataclass(frozen=True)
class Organ:
    """Architecture of one organ; lengths in um, areas as shares of the tissue.

    Parameters
    ----------
    name
        As in the samples table and the marker tables.
    gland_radius, gland_height, gland_spacing
        Outer radius of a gland, height of its epithelium, and distance of neighbours in radii.
    gland_bumps
        Relative irregularity of the outline.
    epithelium
        Fine types of the gland's cells as (name, style, share); all of class Epithelial.
    basal
        Fine type of a second, flat layer at the basal membrane, or None.
    goblets
        Share of gland cells with a mucus vacuole.
    cytoplasm, tumour_cytoplasm
        (haematoxylin, eosin) of the epithelium's cytoplasm, normal and tumour.
    tumour_share, gland_share
        Shares of the tissue that are tumour and normal glands.
    nest_scale, nest_fill, lumen_share
        Size of tumour nests, how much of the tumour they fill, and how much of them is lumen.
    fat_share, muscle
        Share of fat in the stroma; whether one side is a band of smooth muscle.
    """

    name: str
    gland_radius: float
    gland_height: float
    gland_spacing: float
    gland_bumps: float
    epithelium: tuple[tuple[str, str, float], ...]
    basal: str | None
    goblets: float
    cytoplasm: tuple[float, float]
    tumour_cytoplasm: tuple[float, float]
    tumour_share: float = 0.40
    gland_share: float = 0.36
    nest_scale: float = 34.0
    nest_fill: float = 0.62
    lumen_share: float = 0.05
    fat_share: float = 0.0
    muscle: bool = False

    def classes(self) -> dict[str, str]:
        """Fine cell type -> PanNuke class, for every type of this organ."""
        fine = {name: entry[0] for name, entry in COMMON_CELLS.items()}
        fine |= {name: "Epithelial" for name, _, _ in self.epithelium}
        return fine | ({self.basal: "Epithelial"} if self.basal else {})


ORGANS: dict[str, Organ] = {
    "Breast": Organ(
        name="Breast",
        gland_radius=25.0,
        gland_height=13.0,
        gland_spacing=2.12,
        gland_bumps=0.06,
        epithelium=(("Luminal epithelial", "cuboidal", 1.0),),
        basal="Myoepithelial",
        goblets=0.0,
        cytoplasm=(0.16, 0.34),
        tumour_cytoplasm=(0.24, 0.40),
        fat_share=0.30,
    ),
    "Colon": Organ(
        name="Colon",
        gland_radius=36.0,
        gland_height=23.0,
        gland_spacing=2.22,
        gland_bumps=0.04,
        epithelium=(("Enterocyte", "columnar", 0.62), ("Goblet", "columnar", 0.26), ("Crypt stem", "columnar", 0.12)),
        basal=None,
        goblets=0.55,
        cytoplasm=(0.18, 0.36),
        tumour_cytoplasm=(0.30, 0.42),
        nest_scale=42.0,
        lumen_share=0.13,
        muscle=True,
    ),
    "Kidney": Organ(
        name="Kidney",
        gland_radius=21.0,
        gland_height=13.0,
        gland_spacing=2.06,
        gland_bumps=0.05,
        epithelium=(
            ("Proximal tubule", "cuboidal", 0.55),
            ("Distal tubule", "cuboidal", 0.30),
            ("Collecting duct", "cuboidal", 0.15),
        ),
        basal=None,
        goblets=0.0,
        cytoplasm=(0.10, 0.62),
        tumour_cytoplasm=(0.06, 0.20),
        gland_share=0.42,
        nest_scale=28.0,
        nest_fill=0.72,
        lumen_share=0.02,
    ),
}


def organ(name: str) -> Organ:
    """Look an organ up by its name.

    Raises
    ------
    UserError
        If the simulator does not know it.
    """
    if name not in ORGANS:
        raise UserError(f"tissue {name!r}: the simulator knows {', '.join(ORGANS)}")
    return ORGANS[name]

"""A simulated tissue: architecture filled with nuclei."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from stnuclei.simulate.architecture import GRID_UM, Ring, TissuePlan, lay_out
from stnuclei.simulate.fields import noise
from stnuclei.simulate.nuclei import Nucleus, draw_nucleus
from stnuclei.simulate.organs import COMMON_CELLS, Organ, organ

#: Nuclei per square millimetre of each compartment.
DENSITY = {"nest": 8200.0, "follicle": 21000.0, "muscle": 2300.0, "stroma": 2900.0, "fat": 900.0}


@dataclass
class Tissue:
    """Nuclei and structures of one piece of tissue.

    Parameters
    ----------
    organ
        Its architecture.
    size_um
        Width and height in um.
    plan
        Maps of structures.
    nuclei
        All nuclei, in no order that means anything.
    """

    organ: Organ
    size_um: tuple[float, float]
    plan: TissuePlan
    nuclei: list[Nucleus]

    def classes(self) -> list[str]:
        """PanNuke class of every nucleus."""
        fine = self.organ.classes()
        return [fine[nucleus.cell_type] for nucleus in self.nuclei]


class _Room:
    """Mask of the pixels of the grid that nuclei already take."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.taken = np.zeros(shape, np.uint8)

    def add(self, nucleus: Nucleus, tolerance: float) -> bool:
        """Take the nucleus' pixels unless more than the share `tolerance` of them is taken or off the picture."""
        points = nucleus.outline(24) / GRID_UM
        low = np.floor(points.min(axis=0)).astype(int) - 1
        high = np.ceil(points.max(axis=0)).astype(int) + 2
        if (low < 0).any() or high[0] > self.taken.shape[1] or high[1] > self.taken.shape[0]:
            return False
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(mask, [np.round((points - low) * 8).astype(np.int32)[:, None]], 1, shift=3)
        here = self.taken[low[1] : high[1], low[0] : high[0]]
        if (mask & here).sum() > tolerance * mask.sum():
            return False
        here |= mask
        return True


#: Gives (cell type, style, angle) of a nucleus at grid px (row, column).
Chooser = Callable[[int, int], tuple[str, str, float]]


class _Filler:
    """Puts nuclei into compartments, each clear of those before it."""

    def __init__(self, anatomy: Organ, plan: TissuePlan, rng: np.random.Generator) -> None:
        self.anatomy, self.plan, self.rng = anatomy, plan, rng
        self.room = _Room(plan.shape)
        self.nuclei: list[Nucleus] = []

    def put(self, x: float, y: float, angle: float, kind: str, style: str, tolerance: float, scale: float = 1) -> bool:
        nucleus = draw_nucleus(x, y, angle, kind, style, self.rng, scale)
        if self.room.add(nucleus, tolerance):
            self.nuclei.append(nucleus)
            return True
        return False

    def fill(self, weight: np.ndarray, per_mm2: float, choose: Chooser, tolerance: float = 0.03) -> None:
        """Throw nuclei at the grid with probability `weight` until the density is reached or room has run out."""
        chance = weight.astype(np.float64).ravel()
        if chance.sum() <= 0:
            return
        target = round(per_mm2 * (weight > 0).sum() * GRID_UM**2 * 1e-6)
        drawn = self.rng.choice(chance.size, size=9 * target, p=chance / chance.sum())
        placed = 0
        for index in drawn:
            i, j = divmod(int(index), weight.shape[1])
            kind, style, angle = choose(i, j)
            x, y = (j + self.rng.uniform()) * GRID_UM, (i + self.rng.uniform()) * GRID_UM
            placed += self.put(x, y, angle, kind, style, tolerance)
            if placed >= target:
                return

    def line_gland(self, gland: Ring) -> None:
        """One layer of nuclei near the basal membrane of a gland, and a flat layer outside where the organ has it."""
        rng, anatomy = self.rng, self.anatomy
        names, styles, shares = zip(*anatomy.epithelium, strict=True)
        columnar = styles[0] == "columnar"
        seat = 0.36 * gland.height if columnar else 0.45 * gland.height
        inner = gland.radius - seat - (1.8 if anatomy.basal else 0.0)
        phase = rng.uniform(0, 2 * np.pi)
        main = str(rng.choice(names, p=shares)) if not columnar else None  # a tubule is of one kind all around
        step = 6.3 if columnar else 8.2
        for k in range(int(2 * np.pi * inner / step)):
            theta = phase + (k + rng.normal(0, 0.10)) * step / inner
            r = inner * gland.outer(theta) / gland.radius + rng.normal(0, 0.10) * gland.height
            kind = main or str(rng.choice(names, p=shares))
            style = styles[names.index(kind)]
            angle = theta + rng.normal(0, 0.12)
            self.put(gland.x + r * np.cos(theta), gland.y + r * np.sin(theta), angle, kind, style, 0.10)
        if anatomy.basal:
            self._line(gland, gland.radius - 1.2, 13.0, anatomy.basal, "flat", 0.10)

    def _line(self, ring: Ring, radius: float, step: float, kind: str, style: str, tolerance: float) -> None:
        count = max(2, int(2 * np.pi * radius / step))
        phase = self.rng.uniform(0, 2 * np.pi)
        for k in range(count):
            theta = phase + (k + self.rng.normal(0, 0.15)) * 2 * np.pi / count
            r = radius * ring.outer(theta) / ring.radius
            x, y = ring.x + r * np.cos(theta), ring.y + r * np.sin(theta)
            self.put(x, y, theta + np.pi / 2 + self.rng.normal(0, 0.08), kind, style, tolerance)

    def line_vessel(self, vessel: Ring) -> None:
        """Endothelial nuclei in the wall, pericytes outside."""
        self._line(vessel, vessel.radius - 0.5 * vessel.height, 15.0, "Endothelial", "endothelial", 0.05)
        self._line(vessel, vessel.radius + 2.4, 22.0, "Pericyte", "endothelial", 0.05)


def grow_tissue(tissue: str, size_um: tuple[float, float], seed: int, border: bool = True, dead: float = 0.0) -> Tissue:
    """Draw a piece of tissue.

    Parameters
    ----------
    tissue
        Name of an organ of `stnuclei.simulate.organs.ORGANS`.
    size_um
        Width and height in um.
    seed
        Equal seeds give equal tissues.
    border
        Whether the tissue ends inside the picture.
    dead
        Share of tumour nuclei that are pyknotic (class Dead, which only the PanNuke-like set has).

    Raises
    ------
    UserError
        If the organ is not known.
    """
    anatomy = organ(tissue)
    rng = np.random.default_rng([seed, 11])
    plan = lay_out(anatomy, size_um, rng, border)
    filler = _Filler(anatomy, plan, rng)
    for gland in plan.glands:
        filler.line_gland(gland)
    for vessel in plan.vessels:
        filler.line_vessel(vessel)
    filler.fill(_nest_weight(plan), DENSITY["nest"], _tumour_chooser(plan, rng, dead), tolerance=0.08)
    follicle = plan.inside("follicle", 2) & ~plan.inside("nest")
    filler.fill(follicle, DENSITY["follicle"], _follicle_chooser(plan, rng), tolerance=0.05)
    filler.fill(plan.stroma(3) & plan.inside("muscle"), DENSITY["muscle"], _muscle_chooser(plan, rng))
    weight = _stroma_weight(plan, rng)
    filler.fill(weight, DENSITY["stroma"], _stroma_chooser(plan, rng))
    return Tissue(anatomy, size_um, plan, filler.nuclei)


def _nest_weight(plan: TissuePlan) -> np.ndarray:
    return (plan.inside("nest", 3.5) & (plan.maps["nest_lumen"] < -4.0)).astype(np.float32)


def _stroma_weight(plan: TissuePlan, rng: np.random.Generator) -> np.ndarray:
    """Stroma cells crowd in patches and near tumour nests and glands."""
    free = plan.stroma(2.5) & ~plan.inside("follicle") & ~plan.inside("muscle")
    crowd = np.exp(0.5 * noise(plan.shape, 70 / GRID_UM, rng))
    near = np.maximum(plan.maps["nest"], plan.maps["gland"])
    return free * crowd * (0.6 + np.exp(np.minimum(near, 0) / 18.0))


def _tumour_chooser(plan: TissuePlan, rng: np.random.Generator, dead: float) -> Chooser:
    active = noise(plan.shape, 60 / GRID_UM, rng)

    def choose(i: int, j: int) -> tuple[str, str, float]:
        if rng.uniform() < dead:
            return "Dead", "dead", rng.uniform(0, np.pi)
        growing = rng.uniform() < (0.5 if active[i, j] > 0.7 else 0.06)
        style = "mitotic" if growing and rng.uniform() < 0.10 else "tumour"
        # Tumour cells at the edge of a nest stand across it, inside they have no order.
        angle = float(plan.fibre[i, j]) + np.pi / 2 if plan.maps["nest"][i, j] < 9 else rng.uniform(0, np.pi)
        return ("Proliferating tumour" if growing else "Tumour"), style, angle + rng.normal(0, 0.4)

    return choose


def _follicle_chooser(plan: TissuePlan, rng: np.random.Generator) -> Chooser:
    names = ("B cell", "CD4 T cell", "CD8 T cell", "Plasma cell", "Macrophage")

    def choose(i: int, j: int) -> tuple[str, str, float]:
        core = plan.maps["follicle"][i, j] > 12
        shares = (0.72, 0.16, 0.05, 0.03, 0.04) if core else (0.22, 0.40, 0.22, 0.10, 0.06)
        kind = str(rng.choice(names, p=shares))
        return kind, COMMON_CELLS[kind][1], rng.uniform(0, np.pi)

    return choose


def _muscle_chooser(plan: TissuePlan, rng: np.random.Generator) -> Chooser:
    def choose(i: int, j: int) -> tuple[str, str, float]:
        return "Smooth muscle", "muscle", float(plan.fibre[i, j]) + rng.normal(0, 0.10)

    return choose


def _stroma_chooser(plan: TissuePlan, rng: np.random.Generator) -> Chooser:
    names = ("CD4 T cell", "CD8 T cell", "Plasma cell", "Macrophage", "Mast cell", "B cell")
    shares = (0.26, 0.22, 0.20, 0.22, 0.05, 0.05)
    inflamed = noise(plan.shape, 55 / GRID_UM, rng)

    def choose(i: int, j: int) -> tuple[str, str, float]:
        if rng.uniform() < 1 / (1 + np.exp(0.9 - 1.6 * inflamed[i, j])):
            kind = str(rng.choice(names, p=shares))
            return kind, COMMON_CELLS[kind][1], rng.uniform(0, np.pi)
        kind = "Endothelial" if rng.uniform() < 0.12 else "Fibroblast"
        return kind, COMMON_CELLS[kind][1], float(plan.fibre[i, j]) + rng.normal(0, 0.18)

    return choose

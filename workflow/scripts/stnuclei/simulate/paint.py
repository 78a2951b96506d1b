"""Paint a tissue's stain concentrations: stroma, tumour, glands, vessels, then nuclei."""

from __future__ import annotations

import cv2
import numpy as np

from stnuclei.simulate.architecture import GRID_UM
from stnuclei.simulate.fields import Canvas, enlarge, fractal, noise, smoothstep
from stnuclei.simulate.nuclei import paint_nuclei
from stnuclei.simulate.tissue import Tissue


def paint_tissue(tissue: Tissue, um_per_px: float, seed: int) -> np.ndarray:
    """Concentrations of haematoxylin, eosin and haemoglobin.

    Parameters
    ----------
    tissue
        What to paint.
    um_per_px
        Pixel size of the picture; pixel (i, j) spans [j, j+1] x [i, i+1] times `um_per_px` in the tissue's frame.
    seed
        Texture and small structures.

    Returns
    -------
    float32 (H, W, 3), in optical density.
    """
    rng = np.random.default_rng([seed, 12])
    shape = (round(tissue.size_um[1] / um_per_px), round(tissue.size_um[0] / um_per_px))
    zero = [np.zeros(shape, np.float32) for _ in range(3)]
    canvas = Canvas(um_per_px, *zero)
    edge = {name: enlarge(field, shape) for name, field in tissue.plan.maps.items()}
    ragged = 0.45 * noise(shape, canvas.px(2.6), rng) + 0.12 * noise(shape, canvas.px(0.8), rng)
    _paint_stroma(canvas, tissue, edge, rng)
    _paint_fat(canvas, edge, rng)
    _paint_nests(canvas, tissue, edge, ragged, rng)
    _paint_glands(canvas, tissue, edge, ragged, rng)
    _paint_vessels(canvas, tissue, edge, rng)
    for name in ("hole", "tissue"):
        inside = smoothstep(edge[name] + ragged, -0.6, 0.9)
        canvas.lay(inside if name == "hole" else 1 - inside, 0.0, 0.0)
    paint_nuclei(canvas, tissue.nuclei, rng)
    return np.stack([canvas.blue, canvas.pink, canvas.red], axis=-1)


def _paint_stroma(canvas: Canvas, tissue: Tissue, edge: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Collagen: a loose ground with bundles of fibres and clefts between them; muscle is dense and even."""
    shape = canvas.shape
    dense = smoothstep(fractal(shape, (canvas.px(90), canvas.px(30)), rng), -1.2, 1.4)
    muscle = smoothstep(edge["muscle"], -2, 2)
    fibres, clefts = _fibres(canvas, tissue, rng)
    ground = (0.09 + 0.15 * dense) * np.exp(
        0.16 * noise(shape, canvas.px(0.7), rng) + 0.12 * noise(shape, canvas.px(3), rng)
    )
    pink = ground + (0.22 + 0.24 * dense) * fibres
    pink *= 1 - (0.92 - 0.42 * dense) * np.minimum(clefts * 1.3, 1)
    pink = pink * (1 - muscle) + muscle * (0.42 + 0.16 * fibres - 0.25 * clefts)
    canvas.pink += np.maximum(pink, 0.02)
    canvas.blue += 0.03 + 0.05 * smoothstep(noise(shape, canvas.px(40), rng), 0, 2) + 0.04 * fibres + 0.06 * muscle
    # Ground of a lymphoid follicle: a bluish haze of thin cytoplasm.
    haze = 0.20 * np.exp(0.35 * noise(shape, canvas.px(2.2), rng))
    canvas.lay(0.75 * smoothstep(edge["follicle"], -6, 3), haze, 0.9 * haze)


def _fibres(canvas: Canvas, tissue: Tissue, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Streamlines of the fibre field, drawn as bright bundles and dark clefts; two float32 fields in 0..~1.5."""
    count = round(tissue.size_um[0] * tissue.size_um[1] * 0.05)
    lines = _streamlines(tissue, count, 22, 2.0, rng)
    points = np.round(lines / canvas.um_per_px * 8).astype(np.int32)
    drawn = []
    for low, high, thickness in ((0.0, 0.42, 1), (0.42, 0.62, 3), (0.62, 0.78, 5), (0.78, 1.0, 2)):
        layer = np.zeros(canvas.shape, np.uint8)
        for line in points[int(low * count) : int(high * count)]:
            length = rng.integers(8, len(line))
            grey = int(rng.integers(90, 256))
            cv2.polylines(layer, [line[:length, None]], False, grey, thickness, cv2.LINE_AA, 3)
        drawn.append(layer.astype(np.float32) / 255)
    fine, middle, coarse, cleft = drawn
    blur = max(0.4, canvas.px(0.22))
    bundles = (
        0.55 * fine + 0.5 * cv2.GaussianBlur(middle, (0, 0), blur) + 0.45 * cv2.GaussianBlur(coarse, (0, 0), 2 * blur)
    )
    return bundles, cv2.GaussianBlur(cleft, (0, 0), blur)


def _streamlines(tissue: Tissue, count: int, steps: int, step_um: float, rng: np.random.Generator) -> np.ndarray:
    """Follow the fibre field from random places; (count, steps, 2) positions (x, y) in um."""
    fibre = tissue.plan.fibre
    start = rng.uniform(0, 1, (count, 2)) * tissue.size_um
    direction = rng.uniform(0, 2 * np.pi, count)
    wave = rng.uniform(0.0, 0.35, count), rng.uniform(0.25, 0.6, count), rng.uniform(0, 2 * np.pi, count)
    lines = np.empty((count, steps, 2))
    at = start
    for k in range(steps):
        lines[:, k] = at
        j, i = (np.clip(at[:, axis] / GRID_UM, 0, fibre.shape[1 - axis] - 1).astype(int) for axis in (0, 1))
        angle = fibre[i, j]
        angle = np.where(np.cos(angle - direction) < 0, angle + np.pi, angle)  # undirected: keep going forwards
        direction = angle
        angle = angle + wave[0] * np.sin(wave[1] * k * step_um + wave[2])
        at = at + step_um * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return lines


def _paint_fat(canvas: Canvas, edge: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    canvas.lay(smoothstep(edge["fat"], 0.1, 0.9), 0.0, 0.02)


def _cytoplasm(canvas: Canvas, tint: tuple[float, float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    grain = np.exp(0.12 * noise(canvas.shape, canvas.px(0.9), rng) + 0.16 * noise(canvas.shape, canvas.px(4), rng))
    patch = np.exp(0.11 * noise(canvas.shape, canvas.px(45), rng))
    return tint[0] * grain * patch, tint[1] * grain / patch


def _paint_nests(
    canvas: Canvas, tissue: Tissue, edge: dict[str, np.ndarray], ragged: np.ndarray, rng: np.random.Generator
) -> None:
    """Tumour cytoplasm with faint cell borders, retraction from the stroma, lumina with debris."""
    blue, pink = _cytoplasm(canvas, tissue.organ.tumour_cytoplasm, rng)
    borders = _cell_borders(canvas, tissue, {"tumour", "mitotic", "dead"}) * (edge["nest"] > 0)
    clear = tissue.organ.tumour_cytoplasm[1] < 0.3  # clear-cell tumours: the borders are all that is pink
    retreat = smoothstep(noise(canvas.shape, canvas.px(35), rng), 0.5, 1.4)
    gap = np.exp(-(((edge["nest"] + 1.5) / 1.2) ** 2)) * retreat
    canvas.lay(0.85 * gap, 0.0, 0.03)
    canvas.lay(smoothstep(edge["nest"] + ragged, -0.6, 0.8), blue, pink + (0.45 if clear else 0.14) * borders)
    lumen = smoothstep(edge["nest_lumen"] + ragged, -0.4, 0.6)
    debris = smoothstep(fractal(canvas.shape, (canvas.px(9), canvas.px(3)), rng), 0.6, 1.6)
    canvas.lay(lumen, 0.06 * debris, 0.02 + 0.22 * debris)
    rim = np.exp(-(((edge["nest_lumen"] + 0.8) / 0.9) ** 2))
    canvas.pink += 0.22 * rim


def _cell_borders(canvas: Canvas, tissue: Tissue, styles: set[str]) -> np.ndarray:
    """1 on the borders of the Voronoi cells of some nuclei, 0 away from them; float32 (H, W)."""
    seeds = np.ones(tissue.plan.shape, np.uint8)
    for nucleus in tissue.nuclei:
        if nucleus.style in styles:
            cv2.circle(seeds, (int(nucleus.x / GRID_UM), int(nucleus.y / GRID_UM)), 3, 0, -1)
    if seeds.all():
        return np.zeros(canvas.shape, np.float32)
    _, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    line = np.zeros(owner.shape, np.float32)
    line[:, 1:] = owner[:, 1:] != owner[:, :-1]
    line[1:] = np.maximum(line[1:], owner[1:] != owner[:-1])
    return np.clip(enlarge(cv2.GaussianBlur(line, (0, 0), 0.8), canvas.shape) * 1.6, 0, 1)


def _paint_glands(
    canvas: Canvas, tissue: Tissue, edge: dict[str, np.ndarray], ragged: np.ndarray, rng: np.random.Generator
) -> None:
    """Epithelium with basal membrane, brush border, goblet vacuoles and a lumen."""
    organ = tissue.organ
    blue, pink = _cytoplasm(canvas, organ.cytoplasm, rng)
    borders = _cell_borders(canvas, tissue, {"columnar", "cuboidal"}) * (edge["gland"] > 0)
    canvas.lay(0.6 * np.exp(-(((edge["gland"] + 1.2) / 0.8) ** 2)), 0.02, 0.06)
    canvas.lay(smoothstep(edge["gland"] + 0.5 * ragged, -0.5, 0.5), blue, pink + 0.10 * borders)
    canvas.pink += 0.16 * np.exp(-(((edge["gland"] + 0.2) / 0.5) ** 2))
    mucus = _goblets(canvas, tissue, rng)
    canvas.lay(mucus, 0.10 + 0.05 * noise(canvas.shape, canvas.px(1.5), rng), 0.03)
    secretion = smoothstep(fractal(canvas.shape, (canvas.px(16), canvas.px(6), canvas.px(2)), rng), 0.5, 2.2)
    lumen = smoothstep(edge["gland_lumen"] + ragged, -0.3, 0.5)
    canvas.lay(lumen, 0.04 * secretion, 0.02 + 0.16 * secretion)
    canvas.pink += 0.20 * np.exp(-(((edge["gland_lumen"] + 0.6) / 0.6) ** 2))


def _goblets(canvas: Canvas, tissue: Tissue, rng: np.random.Generator) -> np.ndarray:
    """Vacuoles between nucleus and lumen; float32 (H, W) in 0..1."""
    layer = np.zeros(canvas.shape, np.uint8)
    for gland in tissue.plan.glands:
        count = int(2 * np.pi * gland.radius / 6.0)
        for theta in 2 * np.pi * (np.arange(count) + rng.uniform()) / count:
            if rng.uniform() > tissue.organ.goblets:
                continue
            r = gland.outer(np.array(theta)) - gland.height * rng.uniform(0.70, 0.80)
            centre = (np.array([gland.x, gland.y]) + r * np.array([np.cos(theta), np.sin(theta)])) / canvas.um_per_px
            axes = canvas.px(rng.uniform(3.6, 5.2)), canvas.px(rng.uniform(2.0, 2.9))
            cv2.ellipse(
                layer,
                tuple(int(v) for v in np.round(centre * 8)),
                tuple(int(v) for v in np.round(np.array(axes) * 8)),
                np.degrees(theta), 0, 360, int(rng.integers(170, 256)), -1, cv2.LINE_AA, 3,
            )  # fmt: skip
    return cv2.GaussianBlur(layer, (0, 0), max(0.5, canvas.px(0.3))).astype(np.float32) / 255


def _paint_vessels(canvas: Canvas, tissue: Tissue, edge: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """A pink wall, and red cells heaped in part of the lumen."""
    canvas.lay(smoothstep(edge["vessel"], -0.5, 0.5), 0.08, 0.42 + 0.06 * noise(canvas.shape, canvas.px(1), rng))
    canvas.lay(smoothstep(edge["vessel_lumen"], -0.3, 0.5), 0.0, 0.03)
    layer = np.zeros(canvas.shape, np.uint8)
    for vessel in tissue.plan.vessels:
        inner = vessel.radius - vessel.height - 2.6
        heap, fullness = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 1.0)
        for _ in range(int(fullness * 1.2 * max(inner, 0) ** 2 / 7.0)):
            r, theta = inner * np.sqrt(rng.uniform()), heap + rng.normal(0, 1.2)
            centre = np.array([vessel.x + r * np.cos(theta), vessel.y + r * np.sin(theta)]) / canvas.um_per_px
            axes = canvas.px(rng.uniform(2.4, 3.1)), canvas.px(rng.uniform(1.6, 2.9))
            cv2.ellipse(
                layer,
                tuple(int(v) for v in np.round(centre * 8)),
                tuple(int(v) for v in np.round(np.array(axes) * 8)),
                float(rng.uniform(0, 180)), 0, 360, int(rng.integers(120, 256)), -1, cv2.LINE_AA, 3,
            )  # fmt: skip
    canvas.red += 1.05 * cv2.GaussianBlur(layer, (0, 0), max(0.5, canvas.px(0.25))).astype(np.float32) / 255

"""Paint nuclei: halo, membrane, chromatin, nucleoli."""

from __future__ import annotations

import numpy as np

from stnuclei.simulate.fields import Canvas, noise, smoothstep
from stnuclei.simulate.nuclei import STYLES, Nucleus


def paint_nuclei(canvas: Canvas, nuclei: list[Nucleus], rng: np.random.Generator) -> None:
    """Every nucleus with halo, membrane, chromatin and nucleoli, in its own window."""
    tiles = {grain: noise((512, 512), canvas.px(grain), rng) for grain in sorted({s.grain for s in STYLES.values()})}
    for nucleus in nuclei:
        look = STYLES[nucleus.style]
        reach = canvas.px(nucleus.length * 1.25 + abs(nucleus.bend) * nucleus.length**2 + 3.0)
        x, y = nucleus.x / canvas.um_per_px, nucleus.y / canvas.um_per_px
        low = max(0, int(y - reach)), max(0, int(x - reach))
        high = min(canvas.shape[0], int(y + reach) + 2), min(canvas.shape[1], int(x + reach) + 2)
        if high[0] <= low[0] or high[1] <= low[1]:
            continue
        box = np.s_[low[0] : high[0], low[1] : high[1]]
        yy, xx = np.mgrid[box].astype(np.float32)
        relative, inside = nucleus.depth((xx + 0.5) * canvas.um_per_px, (yy + 0.5) * canvas.um_per_px)
        soft = 0.26 * np.exp(0.45 * abs(rng.standard_normal()))
        alpha = (1 / (1 + np.exp(np.clip(-inside / (0.5 * soft), -30, 30)))).astype(np.float32)
        if rng.uniform() < look.halo:
            side = 0.5 + 0.5 * np.cos(np.arctan2(yy - y, xx - x) - rng.uniform(0, 2 * np.pi))
            ring = (
                side
                * rng.uniform(0.3, 0.9)
                * np.exp(-((np.maximum(-inside - 0.2, 0) / rng.uniform(0.6, 1.3)) ** 2))
                * (1 - alpha)
            )
            canvas.pink[box] *= 1 - ring
            canvas.blue[box] *= 1 - ring
        elif nucleus.style == "plasma":
            _plasma_cytoplasm(canvas, box, nucleus, xx, yy, rng)
        offset = rng.integers(0, 512 - min(512, max(high[0] - low[0], high[1] - low[1])) + 1, 2)
        grain = tiles[look.grain][offset[0] :, offset[1] :][: high[0] - low[0], : high[1] - low[1]]
        chromatin = nucleus.density * (1 + look.chromatin * np.clip(grain, -1.3, 1.6) * 0.6)
        chromatin += look.rim * nucleus.density**0.5 * np.exp(-(((np.maximum(inside, 0) - 0.35) / 0.40) ** 2))
        tint = rng.uniform(0.02, 0.22) * nucleus.density**0.5
        spots = _nucleoli(nucleus, look.nucleoli, look.nucleolus, xx, yy, canvas.um_per_px, rng)
        blue = np.maximum(chromatin + 0.9 * spots, 0.15)
        canvas.blue[box] += alpha * (blue - canvas.blue[box])
        canvas.pink[box] += alpha * (0.35 * canvas.pink[box] + tint + 0.25 * spots - canvas.pink[box])
        canvas.red[box] *= 1 - alpha


def _plasma_cytoplasm(
    canvas: Canvas, box: tuple, nucleus: Nucleus, xx: np.ndarray, yy: np.ndarray, rng: np.random.Generator
) -> None:
    """Plasma cells: the nucleus at one side of a purple body."""
    theta, shift = rng.uniform(0, 2 * np.pi), 2.2
    x, y = nucleus.x + shift * np.cos(theta), nucleus.y + shift * np.sin(theta)
    r = np.hypot((xx + 0.5) * canvas.um_per_px - x, (yy + 0.5) * canvas.um_per_px - y)
    body = smoothstep(-r, -5.4, -3.6)
    canvas.blue[box] += 0.8 * body * (0.42 - canvas.blue[box])
    canvas.pink[box] += 0.8 * body * (0.38 - canvas.pink[box])


def _nucleoli(
    nucleus: Nucleus,
    mean: float,
    radius: float,
    xx: np.ndarray,
    yy: np.ndarray,
    um_per_px: float,
    rng: np.random.Generator,
) -> np.ndarray | float:
    """Sum of soft discs, (h, w) in 0..1."""
    total: np.ndarray | float = 0.0
    for _ in range(min(3, rng.poisson(mean))):
        theta, r = rng.uniform(0, 2 * np.pi), 0.5 * nucleus.width * np.sqrt(rng.uniform())
        x, y = nucleus.x + r * np.cos(theta), nucleus.y + r * np.sin(theta)
        size = radius * rng.uniform(0.7, 1.15)
        distance = np.hypot((xx + 0.5) * um_per_px - x, (yy + 0.5) * um_per_px - y)
        total = total + np.exp(-((distance / size) ** 4))
    return np.minimum(total, 1.0)

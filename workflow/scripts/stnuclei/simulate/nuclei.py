"""Nuclei of the simulated tissue: their shapes, and how each kind looks under haematoxylin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stnuclei.simulate.fields import Canvas, noise, smoothstep


@dataclass(frozen=True)
class NucleusStyle:
    """Look of one kind of nucleus.

    Parameters
    ----------
    length, length_sd
        Half of the long axis in um: mean, and the standard deviation of its logarithm.
    ratio, ratio_sd
        Short axis over long axis: mean and standard deviation.
    irregularity
        Relative size of the bumps on the outline.
    bend
        Largest curvature of the long axis, 1/um.
    density
        Haematoxylin concentration of the nucleus (in optical density), and its variation from nucleus to nucleus.
    rim
        Additional concentration at the membrane: vesicular nuclei have pale insides and a dark rim.
    chromatin, grain
        Strength (relative to `density`) and size in um of chromatin clumps.
    nucleoli, nucleolus
        Mean number of visible nucleoli and their radius in um.
    halo
        Share of nuclei with a clear space around them.
    """

    length: float
    length_sd: float
    ratio: float
    ratio_sd: float
    irregularity: float
    bend: float
    density: float
    density_sd: float
    rim: float
    chromatin: float
    grain: float
    nucleoli: float = 0.0
    nucleolus: float = 0.8
    halo: float = 0.2


STYLES: dict[str, NucleusStyle] = {
    "tumour": NucleusStyle(5.3, 0.17, 0.76, 0.10, 0.055, 0.010, 0.85, 0.20, 0.50, 0.50, 1.3, 1.3, 1.15, 0.15),
    "mitotic": NucleusStyle(4.4, 0.15, 0.60, 0.15, 0.120, 0.020, 2.30, 0.10, 0.00, 0.25, 0.9, 0.0, 0.8, 0.8),
    "columnar": NucleusStyle(4.9, 0.09, 0.52, 0.06, 0.018, 0.008, 1.25, 0.13, 0.25, 0.28, 0.8, 0.5, 0.55, 0.05),
    "cuboidal": NucleusStyle(3.7, 0.08, 0.88, 0.06, 0.015, 0.000, 1.15, 0.13, 0.30, 0.28, 0.8, 0.6, 0.60, 0.10),
    "flat": NucleusStyle(4.6, 0.14, 0.38, 0.06, 0.025, 0.020, 1.50, 0.14, 0.10, 0.22, 0.8, 0.0, 0.50, 0.15),
    "lymphocyte": NucleusStyle(3.1, 0.08, 0.92, 0.05, 0.020, 0.000, 2.05, 0.12, 0.10, 0.30, 0.9, 0.0, 0.50, 0.55),
    "plasma": NucleusStyle(3.4, 0.08, 0.90, 0.06, 0.025, 0.000, 1.85, 0.12, 0.25, 0.50, 1.1, 0.0, 0.50, 0.30),
    "macrophage": NucleusStyle(3.9, 0.12, 0.74, 0.10, 0.060, 0.030, 1.40, 0.15, 0.30, 0.30, 0.9, 0.3, 0.50, 0.45),
    "spindle": NucleusStyle(6.6, 0.20, 0.25, 0.05, 0.040, 0.025, 1.50, 0.22, 0.12, 0.34, 0.9, 0.0, 0.50, 0.30),
    "muscle": NucleusStyle(7.8, 0.16, 0.20, 0.04, 0.015, 0.008, 1.25, 0.15, 0.10, 0.18, 0.8, 0.0, 0.50, 0.10),
    "endothelial": NucleusStyle(5.2, 0.16, 0.30, 0.06, 0.030, 0.030, 1.65, 0.15, 0.10, 0.20, 0.8, 0.0, 0.50, 0.10),
    "dead": NucleusStyle(2.9, 0.22, 0.85, 0.10, 0.060, 0.000, 2.80, 0.08, 0.00, 0.06, 0.8, 0.0, 0.50, 0.80),
}


@dataclass(frozen=True, slots=True)
class Nucleus:
    """One nucleus: a bent ellipse with bumps.

    Parameters
    ----------
    x, y
        Centre in um, in the frame of the tissue (the Xenium morphology frame, origin top left, y down).
    length, width
        Half axes in um.
    angle
        Direction of the long axis in radians, from x towards y.
    bend
        Curvature of the long axis, 1/um.
    bumps
        (order, relative amplitude, phase) of each harmonic of the outline.
    density
        Haematoxylin concentration.
    cell_type
        Fine name of the cell, a key of the tissue's cell types.
    style
        Key of `STYLES`.
    """

    x: float
    y: float
    length: float
    width: float
    angle: float
    bend: float
    bumps: tuple[tuple[int, float, float], ...]
    density: float
    cell_type: str
    style: str

    def radius(self, theta: np.ndarray) -> np.ndarray:
        """Distance in um from centre to outline in the directions `theta` (any shape) from the long axis."""
        ellipse = (self.length * self.width) / np.hypot(self.width * np.cos(theta), self.length * np.sin(theta))
        return ellipse * (1.0 + sum(size * np.cos(order * theta + phase) for order, size, phase in self.bumps))

    def outline(self, n: int) -> np.ndarray:
        """`n` points (x, y) in um around the nucleus, float64 (n, 2), not closed."""
        # Even steps of the ellipse's own parameter put more points at the tips, where the outline turns.
        step = np.arange(n) * (2 * np.pi / n)
        theta = np.arctan2(self.width * np.sin(step), self.length * np.cos(step))
        u, v = self.radius(theta) * (np.cos(theta), np.sin(theta))
        return self._in_frame(u, v + self.bend * u * u)

    def _in_frame(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x + cos * u - sin * v, self.y + sin * u + cos * v], axis=-1)

    def depth(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position of points in the nucleus.

        Parameters
        ----------
        x, y
            Positions in um, of one shape.

        Returns
        -------
        Relative radius (0 centre, 1 outline) and about the distance to the outline in um (inside positive).
        """
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u, v = cos * (x - self.x) + sin * (y - self.y), cos * (y - self.y) - sin * (x - self.x)
        v = v - self.bend * u * u
        r = np.hypot(u, v)
        theta = np.arctan2(v, u)
        relative = r / self.radius(theta)
        # First order distance: the gradient of an ellipse's relative radius is steeper along its short axis.
        ellipse = np.hypot(u / self.length**2, v / self.width**2) / np.maximum(
            np.hypot(u / self.length, v / self.width), 1e-6
        )
        return relative, (1.0 - relative) / np.maximum(ellipse, 1e-6)


def draw_nucleus(
    x: float, y: float, angle: float, cell_type: str, style: str, rng: np.random.Generator, scale: float = 1.0
) -> Nucleus:
    """Draw one nucleus of a style at (x, y) um; `scale` multiplies its size."""
    look = STYLES[style]
    length = scale * look.length * np.exp(look.length_sd * float(np.clip(rng.standard_normal(), -2.2, 1.9)))
    ratio = np.clip(look.ratio + look.ratio_sd * rng.standard_normal(), 0.14, 1.0)
    bumps = tuple(
        (order, float(look.irregularity * rng.normal() * 2.0 / order), float(rng.uniform(0, 2 * np.pi)))
        for order in (2, 3, 5)
    )
    return Nucleus(
        x=float(x),
        y=float(y),
        length=float(length),
        width=float(length * ratio),
        angle=float(angle),
        bend=float(look.bend * rng.uniform(-1, 1)),
        bumps=bumps,
        density=float(look.density * np.exp(look.density_sd * rng.standard_normal())),
        cell_type=cell_type,
        style=style,
    )


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

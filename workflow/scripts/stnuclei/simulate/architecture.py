"""Layout of tissue, glands, tumour nests, vessels, fat and muscle, as signed distance maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from stnuclei.simulate.fields import fractal, noise, orientation
from stnuclei.simulate.organs import Organ

#: Pixel of all architecture maps, um.
GRID_UM = 0.5


@dataclass(frozen=True)
class Ring:
    """A gland or a vessel: a bumpy circle at (x, y) um with an outer `radius` and a wall of `height` um."""

    x: float
    y: float
    radius: float
    height: float
    bumps: tuple[tuple[int, float, float], ...]

    def outer(self, theta: np.ndarray | float) -> np.ndarray:
        """Outer radius in um in the directions `theta`."""
        waves = [size * np.cos(order * np.asarray(theta) + phase) for order, size, phase in self.bumps]
        return np.asarray(self.radius * (1.0 + sum(waves)))

    def polygon(self, inset: float) -> np.ndarray:
        """Outline moved inwards by `inset` um, as grid px int32 (64, 1, 2) for `cv2.fillPoly` with 3 bits of shift."""
        theta = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        r = np.maximum(self.outer(theta) - inset, 0.5)
        points = np.stack([self.x + r * np.cos(theta), self.y + r * np.sin(theta)], axis=-1)
        return np.round(points / GRID_UM * 8).astype(np.int32)[:, None]


@dataclass
class TissuePlan:
    """Structures of one tissue.

    Parameters
    ----------
    shape
        Rows and columns of every map at `GRID_UM`.
    maps
        Structure -> signed distance in um to its border (inside positive), float32 `shape`: ``tissue, gland,
        gland_lumen, nest, nest_lumen, vessel, vessel_lumen, fat, muscle, follicle, hole``.
    glands, vessels
        The rings behind those maps.
    fibre
        Direction of stroma fibres, radians, float32 `shape`.
    """

    shape: tuple[int, int]
    maps: dict[str, np.ndarray]
    glands: list[Ring] = field(default_factory=list)
    vessels: list[Ring] = field(default_factory=list)
    fibre: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def inside(self, name: str, margin: float = 0.0) -> np.ndarray:
        """Mask of a structure, drawn in by `margin` um; bool `shape`."""
        return self.maps[name] > margin

    def stroma(self, margin: float = 0.0) -> np.ndarray:
        """Mask of the tissue that is none of the other structures and `margin` um away from them; bool `shape`."""
        free = self.inside("tissue", max(margin, 3.0))
        for name in ("gland", "nest", "vessel", "fat", "hole"):
            free &= self.maps[name] < -margin
        return free


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in um to the border of a mask (H, W), positive inside; float32."""
    if not mask.any():
        return np.full(mask.shape, -1e3, np.float32)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    # The grid's stairs would show in the picture: they are smaller than this blur.
    return cv2.GaussianBlur((inside - outside) * GRID_UM, (0, 0), 1.3)


def lay_out(organ: Organ, size_um: tuple[float, float], rng: np.random.Generator, border: bool = True) -> TissuePlan:
    """Draw the architecture of a tissue.

    Parameters
    ----------
    organ
        What to draw.
    size_um
        Width and height in um.
    rng
        Where the numbers come from.
    border
        Whether the tissue ends inside the picture with white around it; False fills the picture.
    """
    shape = (round(size_um[1] / GRID_UM), round(size_um[0] / GRID_UM))
    tissue = _tissue_mask(shape, rng) if border else np.ones(shape, bool)
    zone = fractal(shape, (210 / GRID_UM, 90 / GRID_UM), rng)
    low, high = np.quantile(zone[tissue], [organ.gland_share, 1 - organ.tumour_share])
    muscle = _muscle_mask(shape, rng) & tissue if organ.muscle else np.zeros(shape, bool)
    free = (signed_distance(tissue) > 6) & ~muscle
    glands = _scatter_glands(organ, free & (zone < low), rng)
    gland = _draw(shape, glands, 0.0)
    vessels = _scatter_vessels(free & ~_grow(gland, 12), size_um, rng)
    vessel = _draw(shape, vessels, 0.0)
    nest = _nests(organ, free & (zone > high) & ~_grow(gland | vessel, 6), rng)
    follicle = _follicles(free & (zone > low) & ~_grow(gland | vessel, 8), size_um, rng)
    nest &= ~_grow(follicle, 4)
    hole = _holes(signed_distance(tissue) > 25, size_um, rng) & ~_grow(gland | vessel | follicle, 4)
    fat = _fat(organ, free & ~_grow(gland | vessel | nest | follicle | hole, 6), zone, rng)
    masks = {
        "tissue": tissue,
        "gland": gland,
        "gland_lumen": _draw(shape, glands, None),
        "nest": nest & ~hole,
        "nest_lumen": _lumina(organ, nest & ~hole, rng),
        "vessel": vessel,
        "vessel_lumen": _draw(shape, vessels, None),
        "fat": fat,
        "muscle": muscle,
        "follicle": follicle,
        "hole": hole,
    }
    plan = TissuePlan(shape, {name: signed_distance(mask) for name, mask in masks.items()}, glands, vessels)
    plan.fibre = _fibres(plan, rng)
    return plan


def _tissue_mask(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    v, u = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    edge = 1.0 - (np.abs(u) ** 5 + np.abs(v) ** 5) ** 0.2
    rough = fractal(shape, (160 / GRID_UM, 60 / GRID_UM), rng)
    return edge + 0.035 * rough > 0.085


def _muscle_mask(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    depth = np.linspace(0, 1, shape[1], dtype=np.float32)[None, :] + 0.03 * noise(shape, 120 / GRID_UM, rng)
    return depth > 0.84


def _grow(mask: np.ndarray, um: float) -> np.ndarray:
    return signed_distance(mask) > -um


def _draw(shape: tuple[int, int], rings: list[Ring], inset: float | None) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for ring in rings:
        cv2.fillPoly(mask, [ring.polygon(ring.height if inset is None else inset)], 1, shift=3)
    return mask > 0


def _bumps(size: float, rng: np.random.Generator) -> tuple[tuple[int, float, float], ...]:
    return tuple((k, float(size * rng.normal() * 2 / k), float(rng.uniform(0, 2 * np.pi))) for k in (2, 3, 4, 5))


def _scatter_glands(organ: Organ, where: np.ndarray, rng: np.random.Generator) -> list[Ring]:
    """Glands on a jittered hexagonal grid, kept where all of the gland lies in `where`."""
    step = organ.gland_radius * organ.gland_spacing
    depth = signed_distance(where)
    rows, columns = (np.arange(0, n * GRID_UM + step, step) for n in (where.shape[0] * 1.16, where.shape[1]))
    rings = []
    for row, y in enumerate(rows * 0.866):
        for x in columns + (row % 2) * step / 2:
            x, y_ = x + rng.normal(0, 0.035 * step), y + rng.normal(0, 0.035 * step)
            radius = organ.gland_radius * float(np.clip(rng.normal(0.92, 0.08), 0.72, 1.0))
            height = organ.gland_height * min(1.0, radius / organ.gland_radius) * rng.uniform(0.92, 1.02)
            i, j = int(y_ / GRID_UM), int(x / GRID_UM)
            bumps = _bumps(organ.gland_bumps, rng)
            if 0 <= i < where.shape[0] and 0 <= j < where.shape[1] and depth[i, j] > 0.55 * radius:
                rings.append(Ring(float(x), float(y_), radius, float(height), bumps))
    return rings


def _scatter_vessels(where: np.ndarray, size_um: tuple[float, float], rng: np.random.Generator) -> list[Ring]:
    rings: list[Ring] = []
    depth = signed_distance(where)
    for _ in range(round(size_um[0] * size_um[1] * 6e-5)):
        x, y = rng.uniform(0, size_um[0]), rng.uniform(0, size_um[1])
        radius, bumps = float(rng.uniform(8, 19)), _bumps(0.12, rng)
        i, j = min(int(y / GRID_UM), where.shape[0] - 1), min(int(x / GRID_UM), where.shape[1] - 1)
        apart = all(np.hypot(x - other.x, y - other.y) > radius + other.radius + 8 for other in rings)
        if apart and depth[i, j] > radius:
            rings.append(Ring(x, y, radius, float(rng.uniform(2.6, 3.6)), bumps))
    return rings


def _nests(organ: Organ, where: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    field_ = fractal(where.shape, (organ.nest_scale / GRID_UM, organ.nest_scale / 2.2 / GRID_UM), rng)
    if not where.any():
        return where
    nest = where & (field_ > np.quantile(field_[where], 1 - organ.nest_fill))
    nest = signed_distance(nest) > 3.0  # specks and bridges go, then the rest grows back
    return signed_distance(nest) > -3.0


def _lumina(organ: Organ, nest: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    deep = signed_distance(nest) > 13.0
    if not deep.any():
        return deep
    field_ = fractal(nest.shape, (22 / GRID_UM, 9 / GRID_UM), rng)
    share = min(0.9, organ.lumen_share * nest.sum() / deep.sum())
    lumen = deep & (field_ > np.quantile(field_[deep], 1 - share))
    return signed_distance(signed_distance(lumen) > 1.5) > -1.5


def _follicles(where: np.ndarray, size_um: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    yy, xx = np.mgrid[: where.shape[0], : where.shape[1]].astype(np.float32) * GRID_UM
    free = np.flatnonzero(where)
    mask = np.zeros(where.shape, bool)
    wobble = 9.0 * noise(where.shape, 22 / GRID_UM, rng)
    for _ in range(max(1, round(size_um[0] * size_um[1] * 9e-6))):
        if not len(free):
            break
        i, j = np.divmod(rng.choice(free), where.shape[1])
        radius = rng.uniform(26, 46)
        mask |= np.hypot(xx - j * GRID_UM, yy - i * GRID_UM) + wobble < radius
    return mask & where


def _holes(where: np.ndarray, size_um: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    yy, xx = np.mgrid[: where.shape[0], : where.shape[1]].astype(np.float32) * GRID_UM
    free = np.flatnonzero(where)
    mask = np.zeros(where.shape, bool)
    wobble = 1.0 + 0.35 * noise(where.shape, 25 / GRID_UM, rng)
    for _ in range(round(size_um[0] * size_um[1] * 9e-6)):
        if not len(free):
            break
        i, j = np.divmod(rng.choice(free), where.shape[1])
        angle, long, short = rng.uniform(0, np.pi), rng.uniform(22, 48), rng.uniform(7, 15)
        dx, dy = xx - j * GRID_UM, yy - i * GRID_UM
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        mask |= np.hypot(along / long, across / short) * wobble < 1.0
    return mask & where


def _fat(organ: Organ, where: np.ndarray, zone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fat cells: circles packed into the stroma where another field allows it."""
    mask = np.zeros(where.shape, np.uint8)
    if organ.fat_share <= 0 or not where.any():
        return mask > 0
    patchy = noise(where.shape, 120 / GRID_UM, rng)
    allowed = where & (patchy > np.quantile(patchy[where], 1 - organ.fat_share * 1.5))
    room = signed_distance(allowed)
    for radius in (27.0, 21.0, 15.0, 11.0):
        for index in rng.choice(room.size, 900, replace=False):
            i, j = np.divmod(index, room.shape[1])
            if room[i, j] < radius + 0.8:
                continue
            ring = Ring(j * GRID_UM, i * GRID_UM, radius, 1.0, _bumps(0.035, rng))
            cv2.fillPoly(mask, [ring.polygon(0.0)], 1, shift=3)
            reach = int((radius * 2.4 + 2) / GRID_UM) + 1
            box = np.s_[max(0, i - reach) : i + reach, max(0, j - reach) : j + reach]
            yy, xx = np.mgrid[
                box[0].start : box[0].start + room[box].shape[0], box[1].start : box[1].start + room[box].shape[1]
            ]
            room[box] = np.minimum(room[box], np.hypot(yy - i, xx - j) * GRID_UM - radius - 0.8)
    return mask > 0


def _fibres(plan: TissuePlan, rng: np.random.Generator) -> np.ndarray:
    """Stroma fibres run along the borders of what they surround, and wander elsewhere."""
    border = np.maximum.reduce([plan.maps[name] for name in ("gland", "nest", "vessel", "fat", "hole")])
    smooth = cv2.GaussianBlur(border, (0, 0), 6 / GRID_UM)
    along = np.arctan2(np.gradient(smooth, axis=0), np.gradient(smooth, axis=1)) + np.pi / 2
    free = orientation(plan.shape, 130 / GRID_UM, rng)
    free = np.where(plan.inside("muscle"), np.pi / 2 + 0.25 * noise(plan.shape, 60 / GRID_UM, rng), free)
    near = np.exp(-np.maximum(-border, 0) / 14.0)
    double = near * np.exp(2j * along) + (1 - near) * np.exp(2j * free)
    return (0.5 * np.angle(double)).astype(np.float32)

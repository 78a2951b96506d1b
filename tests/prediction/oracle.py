"""Slides whose pixels say what a perfect network would see, and that network.

A scene is a set of ellipses in um, many of them touching. Drawn at any pixel size, the red and blue of a nucleus hold
its distance maps, its green the class; tissue without nuclei is pink. Resampling averages them as it does real pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch

from stnuclei.patches.raster import Outlines

CLASSES = ["Background", "Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"]
PINK = (200, 150, 180)


@dataclass(frozen=True)
class Scene:
    """Ellipses: `centre` (n, 2) um, half `axes` (n, 2) um, `angle` (n,), `kind` (n,) 1..5."""

    centre: np.ndarray
    axes: np.ndarray
    angle: np.ndarray
    kind: np.ndarray

    def __len__(self):
        return len(self.kind)

    @classmethod
    def random(cls, width_um, height_um, spacing_um=13.0, seed=0, margin_um=8.0):
        """On a shaken grid; half axes of 2.5 to 6.5 um, so that many touch and some are pressed flat."""
        rng = np.random.default_rng(seed)
        xs = np.arange(margin_um, width_um - margin_um, spacing_um)
        ys = np.arange(margin_um, height_um - margin_um, spacing_um)
        grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
        n = len(grid)
        centre = grid + rng.uniform(-2, 2, (n, 2))
        axes = np.stack([rng.uniform(3.5, 6.5, n), rng.uniform(2.5, 5.0, n)], 1)
        return cls(centre, axes, rng.uniform(0, np.pi, n), rng.integers(1, 6, n))

    def draw(self, um, width, height, x0=0, y0=0):
        """Picture (height, width, 3) uint8 and labels (height, width) int32, the corner at pixel (x0, y0)."""
        image = np.empty((height, width, 3), np.uint8)
        image[:] = PINK
        labels = np.zeros((height, width), np.int32)
        nearest = np.full((height, width), 1.0, np.float32)
        reach = self.axes.max() + um
        low, high = np.array([x0, y0]) * um - reach, np.array([x0 + width, y0 + height]) * um + reach
        for k in np.flatnonzero(((self.centre > low) & (self.centre < high)).all(1)):
            self._draw_one(k, um, x0, y0, image, labels, nearest)
        return image, labels

    def _draw_one(self, k, um, x0, y0, image, labels, nearest):
        (cx, cy), (a, b), angle = self.centre[k] / um - (x0, y0), self.axes[k] / um, self.angle[k]
        cos, sin = np.cos(angle), np.sin(angle)
        half = np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)
        ya, yb = max(int(cy - half[1]), 0), min(int(cy + half[1]) + 2, len(image))
        xa, xb = max(int(cx - half[0]), 0), min(int(cx + half[0]) + 2, image.shape[1])
        if ya >= yb or xa >= xb:
            return
        y, x = np.mgrid[ya:yb, xa:xb] + 0.5
        x, y = x - cx, y - cy
        distance = np.hypot((x * cos + y * sin) / a, (-x * sin + y * cos) / b).astype(np.float32)
        box = np.s_[ya:yb, xa:xb]
        # Where two ellipses meet, each pixel goes to the one it lies deeper in.
        mine = distance < nearest[box]
        nearest[box][mine] = distance[mine]
        labels[box][mine] = k + 1
        image[box][mine, 0] = np.rint(200 + 40 * x[mine] / half[0])
        image[box][mine, 2] = np.rint(180 + 40 * y[mine] / half[1])
        image[box][mine, 1] = 40 + 10 * self.kind[k]


class Oracle:
    """A predictor that reads the maps off the picture."""

    device, dtype = torch.device("cpu"), torch.float32
    classes = CLASSES
    metadata = {
        "taxonomy": None,
        "classes": CLASSES,
        "arch": "Oracle",
        "architecture": "oracle",
        "epoch": 0,
        "tissues": [],
        "provenance": {},
    }

    def __init__(self, fail_after=None):
        self.tiles, self.fail_after = 0, fail_after

    def tensors(self, images):
        self.tiles += len(images)
        if self.fail_after is not None and self.tiles > self.fail_after:
            raise RuntimeError("killed")
        red, green, blue = torch.from_numpy(images).float().unbind(-1)
        inside = green < 115
        hv = torch.stack([(red - 200) / 40, (blue - 180) / 40], 1) * inside[:, None]
        kind = ((green - 40) / 10).round().clamp(1, 5) * inside
        types = (kind[:, None] == torch.arange(6)[:, None, None]).float()
        return inside.float(), hv, types


class Wavering(Oracle):
    """Sees a place differently from tile to tile, as real networks do: maps scaled, shifted, noisy, borders frayed."""

    def tensors(self, images):
        foreground, hv, types = super().tensors(images)
        for k in range(len(images)):
            random = torch.Generator().manual_seed(int(images[k].sum() % 2**31))
            scale, shift = (
                1 + 0.15 * torch.randn(2, 1, 1, generator=random),
                0.1 * torch.randn(2, 1, 1, generator=random),
            )
            noise = 0.1 * torch.randn(hv[k].shape, generator=random)
            hv[k] = (hv[k] * scale + shift + noise) * foreground[k]
            frayed = torch.rand(foreground[k].shape, generator=random) < 0.03
            edge = torch.nn.functional.max_pool2d(foreground[k][None, None], 3, 1, 1)[0, 0] > 0
            foreground[k] = torch.where(frayed & edge, 1 - foreground[k], foreground[k])
        return foreground, hv, types


def ious(truth, polygons):
    """Compare polygons (in the pixels of `truth`) with labels (H, W).

    Returns the IoU of each label with the polygon that covers it best (n,), and which polygon that is (n,).
    """
    outlines = Outlines.of(np.asarray(polygons), np.eye(3))
    painted = outlines.paint(np.arange(len(outlines)), 0, 0, truth.shape[1], truth.shape[0])
    there = np.zeros(int(truth.max()) + 1, bool)
    there[truth] = there[0] = True
    compact = (np.cumsum(there) - 1)[truth]  # ids of a piece of a large slide need no large table
    n, m = int(there.sum()), len(outlines) + 1
    both = np.bincount(compact.ravel() * m + painted.ravel(), minlength=n * m).reshape(n, m)
    union = both.sum(1)[:, None] + both.sum(0)[None] - both
    iou = (both / np.maximum(union, 1))[1:, 1:]
    return iou.max(1), iou.argmax(1)

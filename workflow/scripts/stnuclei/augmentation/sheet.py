"""A contact sheet: what every transform does to one picture and its nuclei."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings
from stnuclei.drawing.figure import figure_file, show_pixels
from stnuclei.drawing.pixels import outline_instances

_SIDE = 1.75  # inch
_OUTLINE = (0, 255, 51)  # green stands apart from haematoxylin and eosin


def contact_sheet(
    path: str | Path,
    image: np.ndarray,
    instances: np.ndarray,
    settings: AugmentSettings | str | None = None,
    *,
    n: int = 4,
    seed: int = 0,
) -> None:
    """Draw `n` results of every transform alone, the strength that of `settings`, and of all together.

    Parameters
    ----------
    path
        File of the picture.
    image
        (H, W, 3) uint8.
    instances
        (H, W) integers; outlines show that ids move with their pixels.
    settings
        Strengths; a transform of probability 0 is not drawn.
    seed
        Of the draws.
    """
    chosen = AugmentSettings.of(settings)
    names = [name for name in PROBABILITIES if getattr(chosen, name) > 0]
    rows = [(name, chosen.replace(**{other: float(other == name) for other in PROBABILITIES})) for name in names]
    rows.append(("all, as in training", chosen))
    size = (_SIDE * (n + 1) * 1.15, _SIDE * len(rows))
    with figure_file(path, *size, dpi=130, max_px=None, layout=None) as figure:
        panels = figure.subplots(len(rows), n + 1, squeeze=False)
        for line, (name, variant) in zip(panels, rows, strict=True):
            pictures, ids = augmented(image, instances, variant, n, seed)
            for axes, pixels, drawn in zip(line, [image, *pictures], [instances, *ids], strict=True):
                colors = np.tile(np.array(_OUTLINE, np.uint8), (int(drawn.max(initial=0)), 1))
                show_pixels(axes, outline_instances(pixels, drawn, colors, 2, 1))
            words = f"{name}\n{strength(name, chosen)}"
            line[0].set_ylabel(words, fontsize=8, rotation=0, ha="right", va="center", linespacing=1.3)
        for axes, title in zip(panels[0], ["original", *(f"draw {k + 1}" for k in range(n))], strict=True):
            axes.set_title(title, fontsize=8)
        figure.subplots_adjust(0.13, 0.003, 0.998, 0.985, 0.02, 0.02)


def augmented(
    image: np.ndarray, instances: np.ndarray, settings: AugmentSettings, n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """`n` draws: pictures (n, H, W, 3) uint8 and instances (n, H, W) int64."""
    pictures = torch.from_numpy(np.repeat(image[None], n, 0)).permute(0, 3, 1, 2).contiguous()
    ids = torch.from_numpy(np.repeat(instances[None].astype(np.int64), n, 0))
    changed, moved = Augmenter(seed, settings)(pictures, ids)
    shown = ((changed + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return shown.numpy(), moved.numpy()


def strength(name: str, settings: AugmentSettings) -> str:
    """Probability and strength of a transform in words of its settings, one a line."""
    if name not in PROBABILITIES:
        return ""
    exact = {"jitter": ("brightness", "contrast", "saturation", "hue")}.get(name, ())
    stem = {"superpixels": "superpixel_", "zoom_blur": "zoom_"}.get(name, f"{name}_")
    values = [field for field in type(settings).model_fields if field in exact or field.startswith(stem)]
    values = [v for v in values if v not in PROBABILITIES]
    lines = [f"{v.removeprefix(stem)} {getattr(settings, v):g}" for v in values]
    return "\n".join([f"p {getattr(settings, name):g}", *lines])

"""Contact sheet of random patches with the outlines of their nuclei."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.patches.store import PatchStore

_OUTLINE = (0, 240, 70)  # green stands apart from haematoxylin and eosin
_WIDTH = 2  # of a line, enlarged px
_SCALE = 2  # outlines are drawn on enlarged patches: they then cover little of a nucleus


def draw_contact_sheet(
    store: PatchStore | str | Path,
    path: str | Path,
    *,
    n: int = 12,
    seed: int = 0,
    classes: np.ndarray | None = None,
    colors: dict[int, str] | None = None,
) -> None:
    """Draw random patches as the network sees them, nuclei outlined.

    Parameters
    ----------
    store
        The patches.
    path
        PNG (or another format by its ending).
    n
        Patches at most.
    seed
        Of the draw.
    classes, colors
        Class id of every nucleus row (`patch_classes`) and ``#rrggbb`` by class id; none: all outlines are green.

    Raises
    ------
    UserError
        If the store is empty.
    """
    store = store if isinstance(store, PatchStore) else PatchStore(store)
    if not len(store):
        raise UserError(f"{store.path}: holds no patch to draw")
    chosen = np.sort(np.random.default_rng(seed).choice(len(store), min(n, len(store)), replace=False))
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(2.9 * columns, 3.05 * rows + 0.35), dpi=180)
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, i in zip(axes.flat, chosen.tolist(), strict=False):
        own = slice(int(store.offset[i]), int(store.offset[i + 1]))
        shades = _shades(own, classes, colors)
        panel.imshow(outlined(store.image[i], store.instances[i], shades), interpolation="antialiased")
        x, y = store.origin[i]
        panel.set_title(f"{i}   x {x:,}  y {y:,}   {_many(own.stop - own.start)}", fontsize=7, pad=2)
    _scale_bar(axes[0, 0], store)
    side = store.patch_px * store.um_per_px
    title = (
        f"{store.sample}: {len(chosen)} of {len(store):,} patches, {side:.0f} um wide; x, y in patch_px of the slide"
    )
    figure.suptitle(title, fontsize=9, y=1 - 0.08 / figure.get_figheight(), va="top")
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.45 / figure.get_figheight(), 0.02, 0.06)
    with atomic_write(path) as aside:
        figure.savefig(aside)


def outlined(image: np.ndarray, instances: np.ndarray, shades: np.ndarray | None = None) -> np.ndarray:
    """Enlarge a patch and draw the nuclei's borders just inside them.

    Parameters
    ----------
    image
        (P, P, 3) uint8.
    instances
        (P, P) integer.
    shades
        (k, 3) uint8, colour of each nucleus; none: green.

    Returns
    -------
    (2 P, 2 P, 3) uint8.
    """
    side = instances.shape[0] * _SCALE
    picture = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    ids = np.repeat(np.repeat(instances.astype(np.int32), _SCALE, 0), _SCALE, 1)
    padded = np.pad(ids, _WIDTH, mode="edge")
    edge = np.zeros(ids.shape, bool)
    for step in range(2 * _WIDTH + 1):
        edge |= padded[step : step + side, _WIDTH : _WIDTH + side] != ids
        edge |= padded[_WIDTH : _WIDTH + side, step : step + side] != ids
    edge &= ids > 0
    palette = np.array([_OUTLINE], np.uint8) if shades is None or not len(shades) else shades
    picture[edge] = palette[(ids[edge] - 1) % len(palette)]
    return picture


def _many(n: int) -> str:
    return f"{n} nucleus" if n == 1 else f"{n} nuclei"


def _shades(rows: slice, classes: np.ndarray | None, colors: dict[int, str] | None) -> np.ndarray | None:
    if classes is None or colors is None:
        return None
    hexes = [colors[int(k)].lstrip("#") for k in classes[rows]]
    return np.array([[int(h[i : i + 2], 16) for i in (0, 2, 4)] for h in hexes], np.uint8).reshape(-1, 3)


def _scale_bar(panel, store: PatchStore) -> None:  # noqa: ANN001 a matplotlib axes
    length = 20 / store.um_per_px * _SCALE
    x, y = 0.04 * store.patch_px * _SCALE, 0.95 * store.patch_px * _SCALE
    panel.plot([x, x + length], [y, y], color="white", lw=5.5, solid_capstyle="projecting", alpha=0.85)
    panel.plot([x, x + length], [y, y], color="black", lw=2.5, solid_capstyle="butt")
    ground = {"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
    panel.text(x + length / 2, y * 0.975, "20 um", fontsize=7, va="bottom", ha="center", bbox=ground)

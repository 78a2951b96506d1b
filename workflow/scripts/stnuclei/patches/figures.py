"""Contact sheet of random patches with the outlines of their nuclei."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from stnuclei.drawing.figure import figure_file, legend, scale_bar
from stnuclei.drawing.pixels import class_colors, outline_instances
from stnuclei.errors import UserError
from stnuclei.patches.store import PatchStore
from stnuclei.taxonomy import Taxonomy

_OUTLINE = (0, 240, 70)  # green stands apart from haematoxylin and eosin
_SCALE, _THICKNESS = 2, 2
_LEGEND = 0.35  # inch


def draw_contact_sheet(
    store: PatchStore | str | Path,
    path: str | Path,
    *,
    n: int = 12,
    seed: int = 0,
    classes: np.ndarray | None = None,
    taxonomy: str | Path | Taxonomy = "pannuke",
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
    classes
        Class id of every nucleus row (`patch_classes`); None: all outlines are green.
    taxonomy
        Colours of the classes.

    Raises
    ------
    UserError
        If the store is empty.
    """
    store = store if isinstance(store, PatchStore) else PatchStore(store)
    taxonomy = Taxonomy.load(taxonomy)
    if not len(store):
        raise UserError(f"{store.path}: holds no patch to draw")
    chosen = np.sort(np.random.default_rng(seed).choice(len(store), min(n, len(store)), replace=False))
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    size = (2.9 * columns, 3.05 * rows + 0.35 + _LEGEND * (classes is not None))
    with figure_file(path, *size, dpi=180, max_px=None, layout=None) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for panel in axes.flat:
            panel.set_axis_off()
        for panel, i in zip(axes.flat, chosen.tolist(), strict=False):
            _draw_patch(panel, store, i, classes, taxonomy)
        scale_bar(axes[0, 0], store.um_per_px / _SCALE, um=20)
        side = store.patch_px * store.um_per_px
        title = f"{store.sample}: {len(chosen)} of {len(store):,} patches, {side:.0f} um wide"
        title += "; x, y of the corner on the slide, px of the patches"
        figure.suptitle(title, fontsize=9, y=1 - 0.08 / size[1], va="top")
        bottom = 0.005
        if classes is not None:
            names = [*taxonomy.names, taxonomy.unknown.name]
            entries = {name: taxonomy.color_of(name) for name in names}
            legend(figure, entries, line=True, loc="lower center", ncols=min(len(names), 2 * columns))
            bottom = _LEGEND / size[1]
        figure.subplots_adjust(0.005, bottom, 0.995, 1 - 0.45 / size[1], 0.02, 0.06)


def _draw_patch(panel: Axes, store: PatchStore, i: int, classes: np.ndarray | None, taxonomy: Taxonomy) -> None:
    begin, end = int(store.offset[i]), int(store.offset[i + 1])
    colors = np.tile(np.array(_OUTLINE, np.uint8), (end - begin, 1))
    if classes is not None:
        colors = class_colors(classes[begin:end], taxonomy)
    drawn = outline_instances(store.image[i], store.instances[i], colors, _SCALE, _THICKNESS)
    panel.imshow(drawn, interpolation="antialiased")
    x, y = store.origin[i]
    panel.set_title(f"{i}   x {x:,}  y {y:,}   {_counted(end - begin)}", fontsize=7, pad=2)


def _counted(n: int) -> str:
    return f"{n} nucleus" if n == 1 else f"{n} nuclei"

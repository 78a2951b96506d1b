"""The look the label figures share: size, colours, points, legends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stnuclei.files import atomic_write
from stnuclei.taxonomy import Taxonomy

DPI = 100
MAX_PX = 1600
INK, QUIET = "#222222", "#777777"


@contextmanager
def picture(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure of `width` x `height` inches (100 px each, at most 1600 px a side) and write it as png.

    No window system and no global state: figures of parallel jobs and tests stay apart.
    """
    scale = min(1.0, MAX_PX / DPI / max(width, height))
    figure = Figure(figsize=(width * scale, height * scale), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    yield figure
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", dpi=DPI)


def bare(axes: Axes, title: str = "") -> None:
    """Take ticks and frame away; title on the left."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=10, loc="left", color=INK)


def scatter_labels(
    axes: Axes, xy: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, size: float | None = None
) -> None:
    """Draw points in the colours of their labels, Unknown below the others and in no order by class.

    Parameters
    ----------
    axes
        Where.
    xy
        (n, 2).
    labels
        (n,) names of the taxonomy.
    taxonomy
        Colours.
    size
        Area of a point in square points; None: by how many there are.
    """
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    colors = np.array([taxonomy.color_of(name) for name in names])
    # A fixed shuffle: no class is drawn over another because of its place in the table.
    order = np.random.default_rng(0).permutation(len(xy))
    order = order[np.argsort(labels[order] != taxonomy.unknown.name, kind="stable")]
    area = size or point_area(len(xy))
    axes.scatter(*xy[order].T, s=area, c=colors[codes][order], linewidths=0, rasterized=True)


def point_area(n: int, inches: float = 5.0) -> float:
    """Area of a point that lets n points about fill a square of so many inches, in square points."""
    return float(np.clip(0.5 * (inches * 72) ** 2 / max(n, 1), 0.15, 60.0))


def legend_labels(axes: Axes | Figure, labels: Sequence[str], taxonomy: Taxonomy, **settings: object) -> None:
    """One dot a label, in the order given."""
    dots = [
        Line2D([], [], marker="o", linestyle="", markersize=7, color=taxonomy.color_of(name), label=name)
        for name in labels
    ]
    axes.legend(handles=dots, frameon=False, fontsize=9, handletextpad=0.2, **settings)


def shares(labels: np.ndarray, taxonomy: Taxonomy) -> str:
    """Share of each label in words, largest first: ``Connective 41 %, Unknown 3 %``."""
    names, counts = np.unique(labels.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    known = [names[i] for i in order if names[i] in taxonomy.labels]
    part = dict(zip(names, counts / max(counts.sum(), 1), strict=True))
    return ", ".join(f"{name} {100 * part[name]:.0f} %" for name in known)


def wrapped(text: str, width: int = 46) -> str:
    """Break a list in words at its commas, so that no line is much longer than `width` characters."""
    lines, line = [], ""
    for word in text.split(", "):
        if line and len(line) + len(word) > width:
            lines.append(line + ",")
            line = word
        else:
            line = f"{line}, {word}" if line else word
    return "\n".join([*lines, line])

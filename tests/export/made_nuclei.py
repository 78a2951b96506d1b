"""Files of nuclei as the slide engine writes them, made without a network."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from stnuclei.io.nuclei_file import NucleiWriter
from stnuclei.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("pannuke")
CLASSES = ["Background", *TAXONOMY.names]


def outlines(centers: np.ndarray, radius: float = 12.0, corners: int = 14, seed: int = 0) -> np.ndarray:
    """Star-shaped polygons (n,) of about `radius` px about `centers` (n, 2)."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = radius * rng.uniform(0.8, 1.2, (len(centers), corners))
    points = centers[:, None] + reach[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return shapely.polygons(np.round(points, 2))


def grid(n: int, step: float = 40.0, width: int | None = None) -> np.ndarray:
    """Centres (n, 2) in rows, `step` px apart."""
    columns = width or int(np.ceil(np.sqrt(n)))
    return np.stack([np.arange(n) % columns, np.arange(n) // columns], 1) * step + step


def table(shapes: np.ndarray, class_ids: np.ndarray, um_per_px: float = 0.25, image=None) -> pa.Table:
    """Rows of the file; each nucleus has its class with probability 0.6 to 1 by its place in the file."""
    n = len(shapes)
    probabilities = np.full((n, len(CLASSES)), 0.01, np.float32)
    own = np.linspace(0.6, 1.0, n, dtype=np.float32)
    probabilities[np.arange(n), class_ids] = own
    centers = shapely.get_coordinates(shapely.centroid(shapes)).astype(np.float32)
    columns = {
        "class": np.array(CLASSES, dtype=object)[class_ids],
        "class_id": class_ids.astype(np.int8),
        "class_probability": own,
        **{f"probability_{name}": probabilities[:, i] for i, name in enumerate(CLASSES)},
        "centroid_x": centers[:, 0],
        "centroid_y": centers[:, 1],
        "area_um2": (shapely.area(shapes) * um_per_px**2).astype(np.float32),
        "geometry": shapely.to_wkb(shapes),
    }
    return pa.table(columns | ({} if image is None else {"image": image}))


def write(
    path: Path,
    shapes: np.ndarray,
    class_ids: np.ndarray,
    *,
    um_per_px: float = 0.25,
    size: tuple[int, int] = (1000, 1000),
    image=None,
    **metadata,
) -> Path:
    """Write nuclei.parquet; `size` is (height, width) of the slide."""
    writer = NucleiWriter(path, CLASSES, images=image is not None)
    writer.write(table(shapes, np.asarray(class_ids), um_per_px, image))
    content = {
        "slide": "made_up",
        "slide_path": "made_up.tif",
        "source": "slide",
        "slide_um_per_px": um_per_px,
        "width": size[1],
        "height": size[0],
        "taxonomy": TAXONOMY.to_dict(),
        "classes": CLASSES,
        "model": {"architecture": "cellvit-tiny", "sha256": "0" * 64},
        "settings": {"tile": 1024},
        "tissue_mm2": 0.5,
        "counts": {"nuclei": len(shapes)},
        "fingerprint": "abc",
    }
    writer.close(content | metadata)
    return path

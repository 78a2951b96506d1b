"""Scores of two folders of label maps (npy, png, tif) or GeoJSON outlines, paired by file name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from stnuclei.errors import UserError
from stnuclei.evaluation.class_scores import codes_to_table, pair_codes
from stnuclei.evaluation.patch_scores import score_patch
from stnuclei.evaluation.rules import Policy, ScoringRules
from stnuclei.io.polygons import read_geojson
from stnuclei.io.regions import class_name
from stnuclei.patches.raster import rasterize
from stnuclei.progress import progress
from stnuclei.taxonomy import Taxonomy

MAPS = (".npy", ".png", ".tif", ".tiff")
OUTLINES = (".geojson", ".json")
_CLASS_COLUMNS = ("class", "label", "type")


@dataclass(frozen=True)
class Nuclei:
    """The nuclei of one picture.

    Parameters
    ----------
    instances
        (H, W) int32 with ids 1..n; None until outlines are painted.
    classes
        (n,) int8 class ids, -1 Unknown; None where the files know no classes.
    outlines
        Polygons (n,) in px, in the order of ids; only where the file held outlines.
    """

    instances: np.ndarray | None
    classes: np.ndarray | None
    outlines: np.ndarray | None = None


def find_files(folder: Path) -> dict[str, Path]:
    """Files of nuclei in a folder by their name without ending.

    Raises
    ------
    UserError
        If the folder is absent, holds none, or has two for one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in MAPS + OUTLINES:
            if path.stem in files:
                raise UserError(f"{folder}: {files[path.stem].name} and {path.name} are both {path.stem}; keep one")
            files[path.stem] = path
    if not files:
        raise UserError(f"{folder}: no label maps ({', '.join(MAPS)}) and no outlines ({', '.join(OUTLINES)})")
    return files


def pair_files(truth: Path, pred: Path) -> list[tuple[str, Path, Path]]:
    """Pair the files of two folders by name.

    Raises
    ------
    UserError
        If a truth has no prediction. (Predictions without a truth are left alone.)
    """
    true, predicted = find_files(truth), find_files(pred)
    missing = [name for name in true if name not in predicted]
    if missing:
        raise UserError(
            f"{pred}: no prediction for {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''} "
            f"({len(missing)} of {len(true)}); files are paired by name without ending"
        )
    return [(name, path, predicted[name]) for name, path in true.items()]


def read_nuclei(path: Path, taxonomy: Taxonomy) -> Nuclei:
    """Read one file.

    A label map may have its classes in ``{name}.csv`` or ``.tsv`` beside it (columns ``id`` and ``class``: a name or
    number of the taxonomy), or in a second channel (H, W, 2). GeoJSON takes them from QuPath's
    ``properties.classification.name`` or ``properties.class``.

    Raises
    ------
    UserError
        Naming the file and what is wrong with it.
    """
    if path.suffix.lower() in OUTLINES:
        return _read_outlines(path, taxonomy)
    image = _read_map(path)
    types = None
    if image.ndim == 3 and image.shape[2] == 2:
        image, types = image[..., 0], image[..., 1]
    if image.ndim != 2 or image.dtype.kind not in "iub":
        raise UserError(
            f"{path}: a label map is (H, W) whole numbers, or (H, W, 2) with classes; "
            f"this is {image.dtype} {image.shape}"
        )
    ids, dense = np.unique(image, return_inverse=True)
    if ids[0] < 0:
        raise UserError(f"{path}: negative ids; 0 is background and nuclei are numbered from 1")
    dense = (dense.reshape(image.shape) + int(ids[0] != 0)).astype(np.int32)
    ids = ids[ids > 0]
    return Nuclei(dense, _classes_beside(path, ids, taxonomy) if types is None else _majority(dense, types, len(ids)))


def _read_map(path: Path) -> np.ndarray:
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path)
        if path.suffix.lower() == ".png":
            import cv2

            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if image is None:
                raise ValueError("no PNG")
            return image
        import tifffile

        return tifffile.imread(path)
    except Exception as error:  # noqa: BLE001 tifffile and its codecs raise a dozen kinds for a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{path}: cannot be read as a label map ({reason})") from None


def _majority(instances: np.ndarray, types: np.ndarray, n: int) -> np.ndarray:
    votes = np.zeros((n + 1, int(types.max(initial=0)) + 1), np.int64)
    np.add.at(votes, (instances.ravel(), types.ravel()), 1)
    chosen = votes[1:].argmax(1)
    return np.where(chosen == 0, -1, chosen).astype(np.int8)


def _classes_beside(path: Path, ids: np.ndarray, taxonomy: Taxonomy) -> np.ndarray | None:
    for ending, separator in ((".csv", ","), (".tsv", "\t")):
        beside = path.with_suffix(ending)
        if beside.is_file():
            table = pd.read_csv(beside, sep=separator)
            column = next((name for name in _CLASS_COLUMNS if name in table), None)
            if "id" not in table or column is None:
                raise UserError(f"{beside}: needs the columns id and class; found {', '.join(map(str, table.columns))}")
            known = dict(zip(table["id"], _encode(table[column], taxonomy, beside), strict=True))
            return np.array([known.get(k, -1) for k in ids.tolist()], np.int8)
    return None


def _encode(values: Any, taxonomy: Taxonomy, where: Path) -> np.ndarray:
    values = pd.Series(values)
    if pd.api.types.is_numeric_dtype(values):
        if not values.between(-1, len(taxonomy.names)).all():
            raise UserError(f"{where}: class numbers must be -1 (unknown) or 1..{len(taxonomy.names)}")
        return values.replace(0, -1).to_numpy(np.int8)
    try:
        return taxonomy.encode(values.fillna(taxonomy.unknown.name))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _read_outlines(path: Path, taxonomy: Taxonomy) -> Nuclei:
    outlines, properties = read_geojson(path)
    names = [_class(entry) for entry in properties]
    classes = _encode(names, taxonomy, path) if any(name is not None for name in names) else None
    return Nuclei(None, classes, outlines)


def _class(properties: dict[str, Any]) -> str | float | None:
    """Name of a feature's class, or its number as ``class`` may hold it; None without one."""
    number = properties.get("class")
    return number if isinstance(number, int | float) else class_name(properties) or None


def extent(nuclei: Nuclei) -> tuple[int, int]:
    """(H, W) px that holds all of it."""
    if nuclei.instances is not None:
        return nuclei.instances.shape
    if nuclei.outlines is None or not len(nuclei.outlines):
        return 1, 1
    width, height = np.ceil(shapely.total_bounds(nuclei.outlines)[2:]).astype(int)
    return int(height), int(width)


def paint(nuclei: Nuclei, shape: tuple[int, int]) -> np.ndarray:
    """Label map (H, W) int32 by the rule of `stnuclei.patches.raster`, the one that truth is painted by.

    Outlines are in px where the first pixel spans 0 to 1 (as QuPath has it), its centre thus being at 0.5.
    """
    if nuclei.instances is not None:
        return nuclei.instances
    assert nuclei.outlines is not None  # `read_nuclei` gives the one or the other
    return rasterize(nuclei.outlines, shape[1], shape[0])


def score_folders(
    truth: Path, pred: Path, um_per_px: float, radius_um: float, policy: Policy, taxonomy: Taxonomy
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score two folders.

    Returns
    -------
    Segmentation, one row an image (as `score_segmentation`, with column ``image``), and pairs of classes (as
    `score_classification`), empty where a side has no classes.

    Raises
    ------
    UserError
        Naming the file that is missing or cannot be scored.
    """
    rules = ScoringRules(policy, radius_um / um_per_px, um_per_px)
    rows, codes, names = [], [], []
    for name, true_path, pred_path in progress(pair_files(truth, pred), None, f"scores ({policy})", "images"):
        true, predicted = read_nuclei(true_path, taxonomy), read_nuclei(pred_path, taxonomy)
        if true.instances is not None and predicted.instances is not None:
            if true.instances.shape != predicted.instances.shape:
                raise UserError(
                    f"{name}: truth is {true.instances.shape} px and prediction {predicted.instances.shape}"
                )
        known = next((n.instances.shape for n in (true, predicted) if n.instances is not None), None)
        height, width = known or np.maximum(extent(true), extent(predicted)).tolist()
        maps = paint(true, (height, width)), paint(predicted, (height, width))
        true_classes, pred_classes = true.classes, predicted.classes
        if true_classes is None or pred_classes is None:  # classes are compared where both sides know them
            true_classes = pred_classes = None
        else:
            pred_classes = np.maximum(pred_classes, 0)
        try:
            rows.append({"image": name} | score_patch(*maps, rules, pred_classes, true_classes, taxonomy.names))
            if true_classes is not None and pred_classes is not None:
                certain = {"class": pred_classes, "class_probability": np.ones(len(pred_classes))}
                codes.append(pair_codes(*maps, true_classes, certain, taxonomy.n_outputs, rules.radius, policy))
                names.append(name)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None
    return pd.DataFrame(rows), codes_to_table(codes, np.array([""] * len(codes), dtype=object), taxonomy)

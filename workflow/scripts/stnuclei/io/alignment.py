"""Alignment of the H&E slide to the morphology image: a 3x3 matrix, keypoints, Explorer's zip, or identity."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.errors import UserError
from stnuclei.slides.slide import PLAUSIBLE_UM

_KEYPOINTS = ("fixedx", "fixedy", "alignmentx", "alignmenty")
_MAX_RESIDUAL_UM = 20.0
#: Bytes of a table in Explorer's zip; a hundred keypoints take 10 kB.
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Alignment:
    """H&E full-resolution pixels to morphology pixels.

    Attributes
    ----------
    matrix
        (3, 3) float64: ``matrix @ (x_he, y_he, 1) = (x_morphology, y_morphology, 1)``, pixels, corner convention.
    kind
        ``matrix``, ``keypoints``, ``zip`` or ``identity``.
    info
        What else is known: number of keypoints, residuals in morphology px.
    """

    matrix: np.ndarray
    kind: str
    info: dict[str, Any]

    def um_per_px(self, morphology_um: float) -> float:
        """H&E pixel size in um: the morphology's times the square root of the matrix's area factor."""
        return morphology_um * scale_of(self.matrix)

    @property
    def inverse_means(self) -> str:
        """What is wrong with the file, and what to do, where its inverse fits and it does not."""
        if "keypoints" in self.info and self.kind == "keypoints":
            return (
                "its fixed and moving keypoints are exchanged: swap fixedX, fixedY with alignmentX, alignmentY, or "
                "mark the H&E as the moving image in Xenium Explorer"
            )
        return "the matrix goes from morphology px to H&E px: give its inverse"

    @property
    def mirrored(self) -> bool:
        """Whether the slide is seen from the other side."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)


def read_alignment(path: str | Path, morphology_um: float) -> Alignment:
    """Read an alignment file, whichever kind it is; ``identity`` is taken by its word.

    Parameters
    ----------
    path
        CSV with 3x3 numbers, CSV with the header ``fixedX,fixedY,alignmentX,alignmentY`` (all points are used, least
        squares), Xenium Explorer's zip with either, or the word ``identity``.
    morphology_um
        Size of a morphology pixel, um.

    Raises
    ------
    UserError
        If the file is neither, is not affine, is singular, or cannot belong to a slide by its scale.
    """
    if str(path).lower() == "identity":
        return Alignment(np.eye(3), "identity", {})
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such alignment file; give it in column he_alignment, or say identity")
    alignment = (
        _read_zip(path, morphology_um)
        if zipfile.is_zipfile(path)
        else _read_text(path, path.read_bytes(), morphology_um)
    )
    _check(path, alignment, morphology_um)
    return alignment


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Take points (n, 2) through an affine (3, 3)."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def scale_of(matrix: np.ndarray) -> float:
    """Length of a unit after an affine (3, 3), mean over directions."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def _read_zip(path: Path, morphology_um: float) -> Alignment:
    with zipfile.ZipFile(path) as archive:
        inside = {Path(name).name.lower(): name for name in archive.namelist()}
        wanted = [key for key in ("matrix.csv", "keypoints.csv") if key in inside]
        for key in wanted:
            if archive.getinfo(inside[key]).file_size > _MOST_BYTES:
                raise UserError(f"{path}: its {key} is too large for an alignment; export the alignment again")
        # By member, never extracted: a name such as ../../matrix.csv writes nothing anywhere.
        members = {key: archive.read(inside[key]) for key in wanted}
    if not members:
        raise UserError(f"{path}: holds neither matrix.csv nor keypoints.csv; export the alignment again")
    first = next(iter(members))
    alignment = _read_text(Path(f"{path}/{first}"), members[first], morphology_um)
    info = {**alignment.info, "inside": first}
    if len(members) == 2:
        moving, fixed = _points(Path(f"{path}/keypoints.csv"), _rows(members["keypoints.csv"]))
        info |= _residuals(alignment.matrix, moving, fixed)
    return Alignment(alignment.matrix, "zip", info)


def _rows(content: bytes) -> list[list[str]]:
    text = content.decode("utf-8-sig", errors="replace")
    delimiter = next((sign for sign in (",", ";", "\t") if sign in text), None)
    if delimiter is None:
        return [line.split() for line in text.splitlines() if line.strip()]
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    return [[value.strip() for value in row if value.strip()] for row in rows if any(map(str.strip, row))]


def _read_text(path: Path, content: bytes, morphology_um: float) -> Alignment:
    try:
        rows = _rows(content)
    except csv.Error as error:
        raise UserError(f"{path}: is no alignment file ({error}); export the alignment again") from error
    if not rows:
        raise UserError(f"{path}: is empty; export the alignment again")
    if any(name.lower() in _KEYPOINTS for name in rows[0]):
        return _fit(path, rows, morphology_um)
    return Alignment(_matrix(path, rows), "matrix", {})


def _matrix(path: Path, rows: list[list[str]]) -> np.ndarray:
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        shape = f"{len(rows)} rows of {'/'.join(sorted({str(len(row)) for row in rows}))} values"
        raise UserError(f"{path}: is neither a 3x3 matrix nor a keypoints table ({shape}); export the alignment again")
    try:
        matrix = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: holds what is no number; expected a 3x3 matrix, H&E px to morphology px") from error
    if not np.isfinite(matrix).all():
        raise UserError(f"{path}: the matrix holds NaN or infinity; export the alignment again")
    if not np.allclose(matrix[2], (0, 0, 1), atol=1e-9):
        transposed = np.allclose(matrix[:, 2], (0, 0, 1), atol=1e-9)
        hint = "it looks transposed" if transposed else "only affine matrices are known"
        raise UserError(f"{path}: the matrix's last row is not 0,0,1; {hint}")
    return matrix


def _points(path: Path, rows: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints on the slide and on the morphology image, both (n, 2) px."""
    header = [name.lower() for name in rows[0]]
    missing = [name for name in _KEYPOINTS if name not in header]
    if missing:
        raise UserError(f"{path}: keypoints lack column {', '.join(missing)} (of {', '.join(_KEYPOINTS)})")
    try:
        values = np.array([[float(row[header.index(name)]) for name in _KEYPOINTS] for row in rows[1:]])
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: a keypoint is no number or incomplete; export the keypoints again") from error
    if len(values) < 3:
        raise UserError(f"{path}: has {len(values)} keypoints, at least 3 are needed; set more in Xenium Explorer")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: a keypoint holds NaN or infinity; export the keypoints again")
    return values[:, 2:], values[:, :2]


def _fit(path: Path, rows: list[list[str]], morphology_um: float) -> Alignment:
    moving, fixed = _points(path, rows)
    design = np.column_stack([moving, np.ones(len(moving))])
    spread = np.linalg.svd(moving - moving.mean(axis=0), compute_uv=False)
    if spread[1] < 1e-3 * spread[0]:
        raise UserError(f"{path}: the {len(moving)} keypoints lie on a line; set one aside from it in Xenium Explorer")
    solution, *_ = np.linalg.lstsq(design, fixed, rcond=None)
    matrix = np.vstack([solution.T, [0, 0, 1]])
    info = _residuals(matrix, moving, fixed)
    worst = info["worst_residual_px"] * morphology_um
    if info["rms_residual_px"] * morphology_um > _MAX_RESIDUAL_UM:
        raise UserError(
            f"{path}: keypoints do not agree (RMS {info['rms_residual_px'] * morphology_um:.1f} um, worst point "
            f"{info['worst_keypoint']} by {worst:.1f} um); correct or remove that point"
        )
    return Alignment(matrix, "keypoints", info)


def _residuals(matrix: np.ndarray, moving: np.ndarray, fixed: np.ndarray) -> dict[str, Any]:
    distance = np.linalg.norm(apply(matrix, moving) - fixed, axis=1)
    return {
        "keypoints": len(moving),
        "rms_residual_px": float(np.sqrt(np.mean(distance**2))),
        "worst_residual_px": float(distance.max()),
        "worst_keypoint": int(distance.argmax()) + 1,
    }


def _check(path: Path, alignment: Alignment, morphology_um: float) -> None:
    singular = np.linalg.svd(alignment.matrix[:2, :2], compute_uv=False)
    if singular[1] < 1e-9 or singular[0] / singular[1] > 1.1:
        raise UserError(
            f"{path}: the matrix stretches one direction {singular[0]:.4g} and the other {singular[1]:.4g} fold, which "
            "no slide does; export the alignment again"
        )
    um = alignment.um_per_px(morphology_um)
    if not PLAUSIBLE_UM[0] <= um <= PLAUSIBLE_UM[1]:
        inverse = morphology_um / scale_of(alignment.matrix)
        inverted = PLAUSIBLE_UM[0] <= inverse <= PLAUSIBLE_UM[1]
        advice = alignment.inverse_means if inverted else "expected a matrix from H&E pixels to morphology pixels"
        raise UserError(
            f"{path}: makes an H&E pixel {um:.4g} um wide, outside {PLAUSIBLE_UM[0]}-{PLAUSIBLE_UM[1]}; {advice}"
        )

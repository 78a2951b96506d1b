"""Alignment of the H&E slide to the morphology image: a matrix, keypoints, landmarks, Explorer's zip, or identity."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.config.user_table import split_landmarks
from stnuclei.errors import UserError
from stnuclei.io.landmarks import FORMS, read_landmark_pairs
from stnuclei.slides.slide import PLAUSIBLE_UM

_KEYPOINTS = ("fixedx", "fixedy", "alignmentx", "alignmenty")
_MAX_RESIDUAL_UM = 20.0
#: Elements of an affine as QuPath writes it (GsonTools.AffineTransformProxy), row by row.
_AFFINE_KEYS = ("m00", "m01", "m02", "m10", "m11", "m12")
_ACCEPTED = (
    "accepted are a 3x3 matrix (csv), QuPath's affine (text of 2x3 or JSON of m00 to m12), Xenium Explorer's "
    f"keypoints or zip, STalign's landmarks.npz, or two files of landmarks he;run ({FORMS})"
)
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
        ``matrix``, ``keypoints``, ``landmarks``, ``zip`` or ``identity``.
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
        """Mistake in the file, and its remedy, where its inverse fits and it does not."""
        if self.kind == "keypoints":
            return (
                "its fixed and moving keypoints are exchanged: swap fixedX, fixedY with alignmentX, alignmentY, or "
                "mark the H&E as the moving image in Xenium Explorer"
            )
        if self.kind == "landmarks":
            return "the landmarks of H&E and run are exchanged: give them as he;run"
        return "the matrix goes from morphology px to H&E px: give its inverse"

    @property
    def mirrored(self) -> bool:
        """True if the slide is seen from the other side."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)


def read_alignment(path: str | Path, morphology_um: float, um_to_px: np.ndarray | None = None) -> Alignment:
    """Read an alignment, whichever kind it is; ``identity`` is taken by its word.

    Parameters
    ----------
    path
        CSV with 3x3 numbers, an affine of QuPath (its text of 2x3, or JSON), CSV with the header
        ``fixedX,fixedY,alignmentX,alignmentY``, Xenium Explorer's zip with a matrix or keypoints, landmarks
        (``he_file;run_file#unit``, ``landmarks.npz#unit``, see `stnuclei.io.landmarks`), or the word ``identity``.
        Keypoints and landmarks are all used, least squares.
    morphology_um
        Size of a morphology pixel, um.
    um_to_px
        (3, 3) from the run's um to morphology px; None: both have one origin.

    Raises
    ------
    UserError
        If it is none of them, is not affine, is singular, or cannot belong to a slide by its scale.
    """
    if str(path).lower() == "identity":
        return Alignment(np.eye(3), "identity", {})
    files, unit = split_landmarks(str(path))
    if files:
        he, run = read_landmark_pairs(files, unit)
        to_px = np.diag([1 / morphology_um, 1 / morphology_um, 1.0]) if um_to_px is None else um_to_px
        alignment = _fit(files[-1], he, apply(to_px, run) if unit == "um" else run, morphology_um, "landmarks")
        _check(files[-1], alignment, morphology_um, "" if unit == "um" else "; landmarks of the run in um are file#um")
        return alignment
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
        if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
            return Alignment(_checked(path, _json_matrix(path, content)), "matrix", {})
        rows = _rows(content)
    except csv.Error as error:
        raise UserError(f"{path}: is no alignment file ({error}); export the alignment again") from error
    if not rows:
        raise UserError(f"{path}: is empty; export the alignment again")
    if any(name.lower() in _KEYPOINTS for name in rows[0]):
        moving, fixed = _points(path, rows)
        return _fit(path, moving, fixed, morphology_um, "keypoints")
    if len(rows) == 2 and b",\t" in content:
        rows = [*rows, ["0", "0", "1"]]  # as QuPath shows and copies an affine; other files of two rows are cut off
    return Alignment(_matrix(path, rows), "matrix", {})


def _json_matrix(path: Path, content: bytes) -> np.ndarray:
    """Affine of QuPath: of the overlay on the image in the viewer, from the viewer's px to the overlay's px."""
    try:
        affine = json.loads(content.decode("utf-8-sig"))
        return np.array([*(float(affine[key]) for key in _AFFINE_KEYS), 0, 0, 1]).reshape(3, 3)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no alignment; {_ACCEPTED}") from error


def _matrix(path: Path, rows: list[list[str]]) -> np.ndarray:
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        shape = f"{len(rows)} rows of {'/'.join(sorted({str(len(row)) for row in rows}))} values"
        raise UserError(f"{path}: is neither a 3x3 matrix nor a keypoints table ({shape}); {_ACCEPTED}")
    try:
        matrix = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: holds what is no number; expected a 3x3 matrix, H&E px to morphology px") from error
    return _checked(path, matrix)


def _checked(path: Path, matrix: np.ndarray) -> np.ndarray:
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
    if not len(values):
        raise UserError(f"{path}: has 0 keypoints, at least 3 are needed; set more in Xenium Explorer")
    return values[:, 2:], values[:, :2]


def _fit(path: Path, moving: np.ndarray, fixed: np.ndarray, morphology_um: float, kind: str) -> Alignment:
    """Affine by least squares that takes `moving` (n, 2) he_px to `fixed` (n, 2) morphology px."""
    point = kind.rstrip("s")
    if len(moving) < 3:
        raise UserError(f"{path}: has {len(moving)} {kind}, at least 3 are needed; set more")
    if not (np.isfinite(moving).all() and np.isfinite(fixed).all()):
        raise UserError(f"{path}: a {point} holds NaN or infinity; export the {kind} again")
    design = np.column_stack([moving, np.ones(len(moving))])
    spread = np.linalg.svd(moving - moving.mean(axis=0), compute_uv=False)
    if spread[1] < 1e-3 * spread[0]:
        raise UserError(f"{path}: the {len(moving)} {kind} lie on a line; set one aside from it")
    solution, *_ = np.linalg.lstsq(design, fixed, rcond=None)
    matrix = np.vstack([solution.T, [0, 0, 1]])
    info = _residuals(matrix, moving, fixed)
    worst = info["worst_residual_px"] * morphology_um
    if info["rms_residual_px"] * morphology_um > _MAX_RESIDUAL_UM:
        raise UserError(
            f"{path}: {kind} do not agree (RMS {info['rms_residual_px'] * morphology_um:.1f} um, worst point "
            f"{info['worst_keypoint']} by {worst:.1f} um); correct or remove that point"
        )
    return Alignment(matrix, kind, info)


def _residuals(matrix: np.ndarray, moving: np.ndarray, fixed: np.ndarray) -> dict[str, Any]:
    distance = np.linalg.norm(apply(matrix, moving) - fixed, axis=1)
    return {
        "keypoints": len(moving),
        "rms_residual_px": float(np.sqrt(np.mean(distance**2))),
        "worst_residual_px": float(distance.max()),
        "worst_keypoint": int(distance.argmax()) + 1,
    }


def _check(path: Path, alignment: Alignment, morphology_um: float, hint: str = "") -> None:
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
        expected = f"expected a matrix from H&E pixels to morphology pixels{hint}"
        advice = alignment.inverse_means if inverted else expected
        raise UserError(
            f"{path}: makes an H&E pixel {um:.4g} um wide, outside {PLAUSIBLE_UM[0]}-{PLAUSIBLE_UM[1]}; {advice}"
        )

"""Landmarks of napari, QuPath and STalign, and QuPath's affine: axis order, units, pixel convention, and refusals."""

import json
from pathlib import Path

import bundle
import numpy as np
import pytest

from stnuclei.config.user_table import alignment_files
from stnuclei.errors import UserError
from stnuclei.io import read_sample
from stnuclei.io.alignment import apply, read_alignment

UM = 0.2125
#: On the H&E, px from the first pixel's corner, and where they lie on the morphology image.
HE = np.array([(120.0, 80.0), (700.5, 95.25), (650.0, 600.0), (90.0, 560.5), (400.0, 310.0)])
RUN = apply(bundle.MATRIX, HE)
NAMES = ("duct", "vessel", "fold", "edge", "gland")


def napari(path, xy):
    """A points layer saved by napari: index, then y and x, whole numbers at pixel centres."""
    rows = [f"{k},{y - 0.5},{x - 0.5}" for k, (x, y) in enumerate(xy)]
    path.write_text("\n".join(["index,axis-0,axis-1", *rows]))
    return path


def qupath(path, xy, names=(), several=False):
    """Point annotations exported by QuPath: (x, y) from the first pixel's corner."""
    shapes = [("MultiPoint", [list(point) for point in xy])] if several else [("Point", list(p)) for p in xy]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": kind, "coordinates": at},
            "properties": {"objectType": "annotation"} | ({"name": names[k]} if len(names) else {}),
        }
        for k, (kind, at) in enumerate(shapes)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def stalign(path, xy, corner=0.5):
    """Two structures annotated by STalign's point_annotator: a pickled dict of lists of (x, y)."""
    points = [(np.float64(x - corner), np.float64(y - corner)) for x, y in xy]
    np.save(path, {"ducts": points[:2], "rest": points[2:]})
    return path


def table(path, xy):
    path.write_text("\n".join(["name,x,y", *(f"p{k},{x},{y}" for k, (x, y) in enumerate(xy))]))
    return path


MAKE = {"napari": (napari, "csv"), "qupath": (qupath, "geojson"), "stalign": (stalign, "npy"), "table": (table, "csv")}


@pytest.mark.parametrize("program", MAKE)
def test_two_files_of_landmarks_give_the_matrix(tmp_path, program):
    make, suffix = MAKE[program]
    he, run = make(tmp_path / f"he.{suffix}", HE), make(tmp_path / f"run.{suffix}", RUN)
    found = read_alignment(f"{he};{run}", UM)
    assert found.kind == "landmarks" and found.info["keypoints"] == 5 and found.info["rms_residual_px"] < 1e-9
    assert np.allclose(found.matrix, bundle.MATRIX, atol=1e-9)
    assert alignment_files(f"{he};{run}#um") == [he, run]


def test_landmarks_of_the_run_in_um(tmp_path):
    he = napari(tmp_path / "he.csv", HE)
    run = stalign(tmp_path / "cells_points.npy", RUN * UM, corner=0.0)
    assert np.allclose(read_alignment(f"{he};{run}#um", UM).matrix, bundle.MATRIX, atol=1e-9)
    # MERSCOPE's um have an origin of their own.
    to_px = np.array([[1 / UM, 0.0, 300.0], [0.0, 1 / UM, -120.0], [0.0, 0.0, 1.0]])
    shifted = table(tmp_path / "run.csv", apply(np.linalg.inv(to_px), RUN))
    assert np.allclose(read_alignment(f"{he};{shifted}#um", UM, to_px).matrix, bundle.MATRIX, atol=1e-9)
    with pytest.raises(
        UserError, match=r"makes an H&E pixel 0\.0\d+ um wide.*; landmarks of the run in um are file#um"
    ):
        read_alignment(f"{he};{stalign(tmp_path / 'p.npy', RUN * UM * UM)}", UM)


def test_landmarks_of_stalign_as_arrays_have_rows_first(tmp_path):
    path = tmp_path / "landmarks.npz"
    np.savez(path, pointsI=HE[:, ::-1] - 0.5, pointsJ=RUN[:, ::-1] * UM)
    assert np.allclose(read_alignment(f"{path}#um", UM).matrix, bundle.MATRIX, atol=1e-9)


def test_the_last_two_axes_of_napari_are_rows_and_columns(tmp_path):
    plane = tmp_path / "he.csv"
    rows = [f"{k},0.0,{y - 0.5},{x - 0.5},good" for k, (x, y) in enumerate(HE)]
    plane.write_text("\n".join(["index,axis-0,axis-1,axis-2,label", *rows]))
    found = read_alignment(f"{plane};{napari(tmp_path / 'run.csv', RUN)}", UM)
    assert np.allclose(found.matrix, bundle.MATRIX, atol=1e-9)


def test_named_landmarks_are_paired_by_name_and_others_by_order(tmp_path):
    he = qupath(tmp_path / "he.geojson", HE, NAMES)
    run = qupath(tmp_path / "run.geojson", RUN[::-1], NAMES[::-1])
    assert np.allclose(read_alignment(f"{he};{run}", UM).matrix, bundle.MATRIX, atol=1e-9)
    together = qupath(tmp_path / "all.geojson", RUN, several=True)
    assert np.allclose(read_alignment(f"{he};{together}", UM).matrix, bundle.MATRIX, atol=1e-9)
    with pytest.raises(UserError, match=r"landmark 'gland 0' is on one of the two images alone"):
        read_alignment(f"{he};{qupath(tmp_path / 'r.geojson', RUN[:4], NAMES)}", UM)


def test_an_affine_of_qupath_as_text_and_as_json(tmp_path):
    (a, b, c), (d, e, f) = bundle.MATRIX[:2]
    text = tmp_path / "affine.txt"
    text.write_text(f"{a:.4f},\t{b:.4f},\t{c:.4f},\n{d:.4f},\t{e:.4f},\t{f:.4f}")
    assert np.allclose(read_alignment(text, UM).matrix, bundle.MATRIX, atol=1e-4)
    path = tmp_path / "affine.json"
    path.write_text(json.dumps({"m00": a, "m10": d, "m01": b, "m11": e, "m02": c, "m12": f}))
    assert np.allclose(read_alignment(path, UM).matrix, bundle.MATRIX)


def test_a_sample_is_read_with_landmarks(good_bundle, tmp_path):
    first = read_sample("xenium", good_bundle, checksums=False)
    he, run = napari(tmp_path / "he.csv", HE), qupath(tmp_path / "run.geojson", RUN)
    again = read_sample("xenium", good_bundle, he_alignment=f"{he};{run}", sample="s")
    assert np.allclose(first.nuclei.total_bounds, again.nuclei.total_bounds, atol=1e-6)
    assert again.provenance["alignment"]["kind"] == "landmarks"
    assert {he.name, run.name} <= {Path(name).name for name in again.provenance["sources"]}


class Trap:
    def __reduce__(self):
        return (open, ("trapped", "w"))


def test_a_pickle_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("run.npy", {"a": [Trap()]})
    napari(tmp_path / "he.csv", HE)
    with pytest.raises(UserError, match=r"run\.npy: is no file of landmarks; accepted are napari's points csv"):
        read_alignment("he.csv;run.npy", UM)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("he.csv;gone.csv", r"gone\.csv: no such file of landmarks \(column he_alignment\)"),
        ("he.csv;four.csv", r"four\.csv: has 4 landmarks, he\.csv has 5; set the same ones on both"),
        ("he.csv;words.csv", r"words\.csv: is no file of landmarks; accepted are napari's points csv, QuPath's"),
        ("he.csv;empty.csv", r"empty\.csv: is no file of landmarks"),
        ("he.csv;outline.geojson", r"outline\.geojson: is no file of landmarks"),
        ("he.csv;plain.npy", r"plain\.npy: is no file of landmarks"),
        ("he.csv;run.csv#mm", r"the unit behind # is neither px nor um"),
        ("he.csv;run.csv;more.csv", r"names 3 files of landmarks; give two, the H&E's;the run's"),
        ("he.csv;crossed.csv", r"landmarks do not agree \(RMS .* um, worst point"),
        ("line.csv;line.csv", r"the 5 landmarks lie on a line"),
        ("bad.npz", r"bad\.npz: holds no pointsI and pointsJ as STalign takes them"),
        ("he.csv", r"he\.csv: is neither a 3x3 matrix nor a keypoints table .* two files of landmarks he;run"),
        ("outline.geojson", r"outline\.geojson: is no alignment; accepted are a 3x3 matrix \(csv\), QuPath's affine"),
    ],
)
def test_what_is_no_landmark_is_told_with_what_is_accepted(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    for name, points in {"he": HE, "run": RUN, "four": RUN[:4], "crossed": RUN[[1, 2, 0, 3, 4]]}.items():
        napari(tmp_path / f"{name}.csv", points)
    napari(tmp_path / "line.csv", np.column_stack([np.arange(5), np.arange(5)]))
    (tmp_path / "words.csv").write_text("index,axis-0,axis-1\n0,far,away\n")
    (tmp_path / "empty.csv").write_text("")
    outline = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    (tmp_path / "outline.geojson").write_text(json.dumps({"features": [{"geometry": outline}]}))
    np.save(tmp_path / "plain.npy", RUN)
    np.savez(tmp_path / "bad.npz", other=RUN)
    with pytest.raises(UserError, match=says) as told:
        read_alignment(given, UM)
    assert "\n" not in str(told.value)

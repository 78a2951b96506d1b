"""The command on two folders: maps, outlines, classes, and mistakes told in one line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from evaluation.stores import grid
from stnuclei.cli import main
from stnuclei.evaluation.folders import paint, read_nuclei
from stnuclei.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("pannuke")


@pytest.fixture
def folders(tmp_path):
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    truth.mkdir()
    pred.mkdir()
    return truth, pred


def square(x, y, side, name=None):
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    properties = {"classification": {"name": name}} if name else {}
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}


def test_maps_of_three_kinds(folders, capsys):
    truth, pred = folders
    np.save(truth / "a.npy", grid())
    np.save(truth / "b.npy", grid().astype(np.int64) * 1000)
    cv2.imwrite(str(pred / "a.png"), grid())
    tifffile.imwrite(pred / "b.tif", np.roll(grid(), 2, 1))
    arguments = ["--truth", str(truth), "--pred", str(pred), "--um-per-px", "0.25", "--out", str(pred.parent / "out")]
    assert main(["score", *arguments]) == 0
    table = pd.read_csv(pred.parent / "out" / "segmentation.tsv", sep="\t").set_index("policy")
    assert table.loc["corrected", "bpq"] == pytest.approx((1 + 2 / 3) / 2)
    assert table.loc["corrected", "dice"] == pytest.approx(0.9)
    images = pd.read_csv(pred.parent / "out" / "images.tsv", sep="\t")
    assert images["image"].tolist() == ["a", "b", "a", "b"]
    assert "bpq" in capsys.readouterr().out


def test_classes_beside_maps_and_in_outlines(folders, capsys):
    truth, pred = folders
    np.save(truth / "a.npy", grid())
    names = ["Neoplastic"] * 8 + ["Connective"] * 7 + ["Unknown"]
    pd.DataFrame({"id": range(1, 17), "class": names}).to_csv(truth / "a.csv", index=False)
    squares = [square(2 + 16 * (k % 4), 2 + 16 * (k // 4), 10, "Neoplastic") for k in range(16)]
    (pred / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": squares}))
    out = pred.parent / "out"
    arguments = ["--truth", str(truth), "--pred", str(pred), "--out", str(out), "--policy", "corrected"]
    assert main(["score", *arguments]) == 0
    table = pd.read_csv(out / "classification.tsv", sep="\t")
    assert table["nuclei"].tolist() == [15] and table["unknown"].tolist() == [1]
    assert table["accuracy"][0] == pytest.approx(8 / 15)
    assert pd.read_csv(out / "segmentation.tsv", sep="\t")["bpq"][0] == 1
    assert "0.25" in capsys.readouterr().err  # the resolution taken is said


def test_outlines_are_painted_by_pixel_centres(tmp_path):
    hole = square(2, 2, 10)
    hole["geometry"]["coordinates"].append(square(4, 4, 4)["geometry"]["coordinates"][0])
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([hole, square(20, 2, 5)]))
    painted = paint(read_nuclei(path, TAXONOMY), (16, 30))
    expected = np.zeros((16, 30), int)
    expected[2:12, 2:12] = 1
    expected[4:8, 4:8] = 0
    expected[2:7, 20:25] = 2
    assert np.array_equal(painted, expected)


def test_second_channel_holds_classes(tmp_path):
    both = np.stack([grid(), np.where(grid() > 8, 2, 1)], -1)
    both[..., 1][grid() == 16] = 0
    np.save(tmp_path / "a.npy", both)
    assert read_nuclei(tmp_path / "a.npy", TAXONOMY).classes.tolist() == [1] * 8 + [2] * 7 + [-1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t, p: None, "no label maps"),
        (lambda t, p: np.save(t / "a.npy", grid()), "no label maps"),
        (lambda t, p: (np.save(t / "a.npy", grid()), np.save(p / "b.npy", grid())), "no prediction for a"),
        (lambda t, p: (np.save(t / "a.npy", grid()), np.save(p / "a.npy", grid()[:60])), "truth is"),
        (lambda t, p: (np.save(t / "a.npy", grid() / 2), np.save(p / "a.npy", grid())), "whole numbers"),
        (lambda t, p: (np.save(t / "a.npy", grid()), (p / "a.png").write_bytes(b"x")), "cannot be read"),
        (lambda t, p: (np.save(t / "a.npy", grid()), (p / "a.geojson").write_text("{}")), "no GeoJSON"),
        (lambda t, p: (np.save(t / "a.npy", grid()), np.save(t / "a.npy", grid() - 1.0)), "no label maps"),
        (lambda t, p: (np.save(t / "a.npy", grid()), tifffile.imwrite(t / "a.tif", grid())), "both a"),
        (
            lambda t, p: (np.save(t / "a.npy", grid()), np.save(p / "a.npy", grid()), (t / "a.csv").write_text("x\n1")),
            "columns id and class",
        ),
        (
            lambda t, p: (
                np.save(t / "a.npy", grid()),
                np.save(p / "a.npy", grid()),
                (t / "a.csv").write_text("id,class\n1,Tumour"),
            ),
            "Tumour",
        ),
    ],
)
def test_mistakes_are_one_line(folders, capsys, make, message):
    truth, pred = folders
    make(truth, pred)
    assert main(["score", "--truth", str(truth), "--pred", str(pred), "--um-per-px", "0.25"]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1 and message in error[0]


@pytest.mark.parametrize("properties", [{"classification": "Connective"}, {"class": "Connective"}, {"class": 3}])
def test_classes_of_outlines_however_they_are_written(tmp_path, properties):
    path = tmp_path / "a.geojson"
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": [{**square(0, 0, 9), "properties": properties}]})
    )
    assert read_nuclei(path, TAXONOMY).classes.tolist() == [3]

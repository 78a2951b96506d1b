"""Predicted classes against labels from expression, and what goes to Xenium Explorer."""

import dataclasses
import json

import cv2
import numpy as np
import pandas as pd
import pytest
import shapely
from anndata import AnnData
from shapely import affinity

from export import made_nuclei as made
from samples import PixelSlide, make_sample
from stnuclei.errors import UserError
from stnuclei.evaluation import compare_slide, pair_overlaps
from stnuclei.evaluation.agreement import NOT_IN_RUN, NOT_PREDICTED, PAIRED
from stnuclei.evaluation.agreement_map import agreement_grid, draw_agreement
from stnuclei.export.explorer import write_cell_groups, write_ranger_polygons
from stnuclei.io import boundaries

NAMES = np.array(made.TAXONOMY.names, dtype=object)
MATRIX = np.array([[0.0, -1.2, 2000.0], [1.2, 0.0, 10.0], [0, 0, 1]])


@pytest.fixture
def case(tmp_path):
    """Give a run of 400 nuclei and a prediction: 20 not predicted, 30 not in the run, 38 of 380 with another class."""
    truth = made.outlines(made.grid(400, 40.0, 20))
    classes = np.arange(400) % 3 + 1
    predicted = classes.copy()
    predicted[:38] = classes[:38] % 3 + 1
    invented = made.outlines(made.grid(30, 40.0, 20) + [0, 1000.0])
    shifted = np.array([affinity.translate(one, 2.0, -1.0) for one in truth[:380]], dtype=object)
    path = made.write(
        tmp_path / "nuclei.parquet",
        np.concatenate([shifted, invented])[::-1],
        np.concatenate([predicted[:380], np.full(30, 5)])[::-1],
        size=(1200, 1000),
    )
    cells = [f"cell{i}-1" for i in range(400)]
    cells[7], cells[399] = None, "cell398-1"
    sample = make_sample("run", np.zeros((1200, 1000, 3), np.uint8), AnnData(), truth, pd.Series(cells, dtype=object))
    sample.he_to_morphology, sample.provenance = MATRIX, {"morphology_um_per_px": 0.2125}
    labels = pd.DataFrame({"cell_id": [f"cell{i}-1" for i in range(400)], "label": NAMES[classes - 1]})
    labels["confidence"] = np.float32(0.9)
    labels.loc[10:14, "label"] = "Unknown"
    return path, sample, labels


def test_every_nucleus_of_both_sides_stands_once(case):
    path, sample, labels = case
    nuclei = compare_slide(path, sample, labels).nuclei
    assert nuclei["status"].value_counts().to_dict() == {PAIRED: 380, NOT_PREDICTED: 20, NOT_IN_RUN: 30}
    assert sorted(nuclei.loc[nuclei["nucleus_index"] >= 0, "nucleus_index"]) == list(range(400))
    assert sorted(nuclei.loc[nuclei["nucleus_id"] >= 0, "nucleus_id"]) == list(range(1, 411))
    paired = nuclei[nuclei["status"] == PAIRED]
    np.testing.assert_allclose(paired["distance_um"], np.hypot(2, 1) * 0.25, rtol=1e-3)
    expected = shapely.intersection(
        sample.nuclei.geometry[0], affinity.translate(sample.nuclei.geometry[0], 2, -1)
    ).area
    union = 2 * sample.nuclei.geometry[0].area - expected
    assert paired.set_index("nucleus_index").loc[0, "iou"] == pytest.approx(expected / union, abs=1e-3)


def test_confusion_and_scores_are_those_of_the_case(case):
    path, sample, labels = case
    agreement = compare_slide(path, sample, labels)
    table = agreement.confusion()
    assert table.to_numpy().sum() == 430
    assert table.loc[NOT_IN_RUN, "Epithelial"] == 30
    assert table.loc["Unknown"].sum() == 6
    assert table[NOT_PREDICTED].sum() == 20
    scores = agreement.scores().set_index("class")
    # 38 of 380 differ; five of those and nucleus 7 have no label
    assert scores.loc["all", "pairs"] == 374
    assert scores.loc["all", "agreement"] == pytest.approx(342 / 374)
    assert scores.loc["all", "detected"] == pytest.approx(374 / 394)
    row = scores.loc["Neoplastic"]
    assert row["f1"] == pytest.approx(2 * row["agreement"] * row["precision"] / (row["agreement"] + row["precision"]))
    assert 0.8 < scores.loc["all", "kappa"] < scores.loc["all", "agreement"]


def test_files_read_back(case, tmp_path):
    path, sample, labels = case
    agreement = compare_slide(path, sample, labels)
    agreement.write(tmp_path / "a.tsv", tmp_path / "a.parquet", tmp_path / "s.tsv")
    assert pd.read_csv(tmp_path / "a.tsv", sep="\t", index_col=0).equals(agreement.confusion())
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert back["agrees"].sum() == 342
    assert back["agrees"].isna().sum() == 430 - 374


def test_overlap_can_be_asked_for(case):
    path, sample, labels = case
    strict = compare_slide(path, sample, labels, min_iou=0.99)
    assert (strict.nuclei["status"] == PAIRED).sum() == 0
    assert np.isnan(strict.scores().loc[0, "agreement"])


def test_map_shows_where_they_differ(case, tmp_path):
    path, sample, labels = case
    agreement = compare_slide(path, sample, labels)
    fraction, side = agreement_grid(agreement.nuclei, 0.25, np.array([0.25, 0.3]))
    rows = np.arange(fraction.shape[0]) * side / 0.25
    assert np.nanmean(fraction[rows < 60]) < 0.65
    assert np.nanmean(fraction[(rows > 400) & (rows < 700)]) > 0.95
    draw_agreement(agreement, 0.25, tmp_path / "map.png", "run")
    assert max(cv2.imread(str(tmp_path / "map.png")).shape) <= 1600


def test_what_does_not_belong_together_is_told(case):
    path, sample, labels = case
    with pytest.raises(UserError, match="hold none of its cells"):
        compare_slide(path, sample, labels.assign(cell_id="x" + labels["cell_id"]))
    with pytest.raises(UserError, match="Tumor is no class of the model"):
        compare_slide(path, sample, labels.assign(label="Tumor"))
    sample.he = PixelSlide(np.zeros((800, 1000, 3), np.uint8), "other.tif")
    with pytest.raises(UserError, match="1000 x 1200 px cannot be compared with sample run, whose H&E has 1000 x 800"):
        compare_slide(path, sample, labels)


def test_cell_groups_name_the_runs_cells_once(case, tmp_path):
    path, sample, labels = case
    agreement = compare_slide(path, sample, labels)
    assert write_cell_groups(agreement.nuclei, tmp_path / "groups.csv") == 379
    groups = pd.read_csv(tmp_path / "groups.csv")
    assert list(groups.columns) == ["cell_id", "group"]
    assert groups["cell_id"].is_unique
    assert set(groups["cell_id"]) <= set(sample.nuclei["cell_id"].dropna())
    row = agreement.nuclei.set_index("cell_id").loc["cell100-1"]
    assert groups.set_index("cell_id").loc["cell100-1", "group"] == row["predicted"]


def test_ranger_polygons_lie_in_um_of_the_morphology_image(case, tmp_path):
    path, sample, _ = case
    write_ranger_polygons(path, sample, tmp_path / "nuclei.geojson")
    features = json.loads((tmp_path / "nuclei.geojson").read_text())["features"]
    assert len(features) == 410
    assert {one["properties"]["objectType"] for one in features} == {"cell"}
    last = np.array(features[-1]["geometry"]["coordinates"][0])
    he = shapely.get_coordinates(affinity.translate(sample.nuclei.geometry[0], 2, -1))
    expected = (np.c_[he, np.ones(len(he))] @ MATRIX.T)[:, :2] * 0.2125
    np.testing.assert_allclose(last, expected, atol=1e-3)
    sample.he_to_morphology = None
    with pytest.raises(UserError, match="has no alignment to a Xenium run"):
        write_ranger_polygons(path, sample, tmp_path / "x.geojson")


def test_overlaps_do_not_depend_on_the_pieces_or_the_order(case, monkeypatch):
    path, sample, labels = case
    whole = compare_slide(path, sample, labels).nuclei
    monkeypatch.setattr(pair_overlaps, "_PAIRS", 50)
    monkeypatch.setattr(boundaries, "ROW_GROUP", 64)
    order = np.random.default_rng(0).permutation(len(sample.nuclei))
    shuffled = dataclasses.replace(sample, nuclei=sample.nuclei.iloc[order].reset_index(drop=True))
    again = compare_slide(path, shuffled, labels).nuclei
    again["nucleus_index"] = np.r_[order, -1][again["nucleus_index"]]
    columns = ["nucleus_index", "nucleus_id"]
    expected, found = (
        table.sort_values(columns).drop(columns="cell_id").reset_index(drop=True) for table in (whole, again)
    )
    pd.testing.assert_frame_equal(found, expected, check_exact=True)

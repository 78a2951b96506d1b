"""Figures: drawn, of the size of a page, in the taxonomy's colours; patches chosen by rule."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from evaluation.stores import Store, grid
from stnuclei.drawing.pixels import class_colors, outline_instances
from stnuclei.errors import UserError
from stnuclei.evaluation import calibration, score_classification, score_segmentation
from stnuclei.evaluation.charts import figure_calibration, figure_confusion, figure_pq
from stnuclei.evaluation.error_atlas import error_atlas
from stnuclei.evaluation.figures import ShownPatches, choose_patches, figure_labels, figure_predictions
from stnuclei.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("pannuke")


@pytest.fixture
def stores():
    rng = np.random.default_rng(0)
    truth = Store([grid(n) for n in (2, 3, 4, 4)], rng.integers(1, 6, 45))
    pred = Store([np.roll(m, 2, 1) for m in truth.instances], rng.integers(0, 6, 45))
    return truth, pred


def has_color(path, name):
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    wanted = np.array([int(TAXONOMY.color_of(name)[i : i + 2], 16) for i in (1, 3, 5)])
    return (np.abs(picture - wanted).max(-1) < 12).sum() > 50


def test_figures_2_and_3(tmp_path, stores):
    truth, pred = stores
    labels = {"stnuclei": truth.classes, "paper": -np.ones(45, np.int8)}
    shown = figure_labels(tmp_path / "2.png", truth, labels, shown=ShownPatches(n=2))
    assert len(shown) == 2 and set(shown) <= {2, 3}  # those with most nuclei and kinds
    assert all(has_color(tmp_path / "2.png", name) for name in ("Neoplastic", "Connective", "Unknown"))
    figure_predictions(tmp_path / "3.png", truth, {"a": pred, "b": truth}, truth.classes, shown=ShownPatches([0, 2]))
    height, width = cv2.imread(str(tmp_path / "3.png")).shape[:2]
    assert width == pytest.approx(7.2 * 220, abs=2) and height < 11 * 220
    figure_predictions(tmp_path / "3.pdf", truth, {"a": pred}, shown=ShownPatches([1]))
    assert (tmp_path / "3.pdf").read_bytes().startswith(b"%PDF")


def test_patches_are_those_on_which_labels_and_models_differ(tmp_path):
    """Eight equal patches; one class is changed in patch 5, by a method or by a model."""
    truth = Store([grid()] * 8, classes=np.ones(128))
    changed = np.ones(128, np.int8)
    changed[5 * 16 : 5 * 16 + 8] = 3
    labels = {"a": np.ones(128, np.int8), "b": changed}
    for seed in range(3):
        assert figure_labels(tmp_path / "2.png", truth, labels, shown=ShownPatches(n=1, seed=seed)) == [5]
    unknown = np.ones(128, np.int8)
    unknown[5 * 16 : 6 * 16] = -1  # where nobody knows the truth nobody is wrong
    labels = {"b": changed, "c": unknown}
    annotated = figure_labels(tmp_path / "2.png", truth, labels, annotation=unknown, shown=ShownPatches(n=1))
    assert annotated != [5]
    assert cv2.imread(str(tmp_path / "2.png")).shape[1] == pytest.approx(7.2 * 220, abs=3)  # H&E and three columns
    models = {"a": truth, "b": Store([grid()] * 8, classes=changed)}
    scores = [score_classification(truth, truth.classes, one) for one in models.values()]
    for seed in range(3):
        chosen = ShownPatches(n=1, seed=seed)
        shown = figure_predictions(tmp_path / "3.png", truth, models, truth.classes, scores=scores, shown=chosen)
        assert shown == [5]


def test_other_figures(tmp_path, stores):
    truth, pred = stores
    scores = score_segmentation(truth, pred, labels=truth.classes)
    worst = error_atlas(tmp_path / "a.png", truth, pred, scores, truth.classes, n=2)
    assert worst == scores[scores["n_true"] >= 5].nsmallest(2, "pq")["patch"].tolist()
    classes = score_classification(truth, truth.classes, pred)
    figure_confusion(tmp_path / "c.png", classes, title="model")
    figure_pq(tmp_path / "p.png", {"a": scores, "b": scores})
    figure_calibration(tmp_path / "k.png", {"a": calibration(classes)})
    assert all(cv2.imread(str(tmp_path / f"{name}.png")).std() > 5 for name in "acpk")


def test_choice_is_seeded_and_empty_stores_are_told():
    truth = Store([grid()] * 8)
    classes = [np.ones(128, np.int8)]
    assert choose_patches(truth, classes, 3, seed=1) == choose_patches(truth, classes, 3, seed=1)
    assert any(choose_patches(truth, classes, 3, seed=s) != choose_patches(truth, classes, 3) for s in range(1, 5))
    with pytest.raises(UserError, match="empty"):
        choose_patches(Store([]), [np.zeros(0, np.int8)], 3)


def test_outline_leaves_the_inside_alone():
    image = np.full((64, 64, 3), 200, np.uint8)
    drawn = outline_instances(
        image, grid(2, side=20), class_colors(np.array([1, 2, 3, -1]), TAXONOMY), scale=2, thickness=2
    )
    assert drawn.shape == (128, 128, 3)
    assert (drawn[24, 24] == 200).all()  # the middle of the first square
    assert (drawn[110:, 110:] == 200).all()

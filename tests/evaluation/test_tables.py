"""From stores to the tables people read: known predictions give known tables, over runs, folds, classes and organs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evaluation.stores import Store, grid
from stnuclei.evaluation import (
    footnotes,
    pannuke_table,
    pannuke_tissues,
    read_scores,
    readable,
    score_classification,
    score_segmentation,
    table2,
    table3,
)
from stnuclei.evaluation.breakdowns import (
    calibration_table,
    calibration_tables,
    class_table,
    organ_table,
    size_table,
)
from stnuclei.evaluation.tables import published
from stnuclei.io import annotation_table

EMPTY = np.zeros((64, 64), np.uint16)
NAMES = ("Neoplastic", "Inflammatory", "Connective", "Epithelial")
CLASSES = np.tile([1, 2, 3, 5], 8)  # two patches of 16 nuclei, each class four times a patch


def scored(truth, predictions, model="m", sample="s", policies=("official", "corrected"), labels=CLASSES):
    """Rows of both kinds of scores."""
    parts = [
        (
            score_segmentation(truth, predictions, p, labels=labels),
            score_classification(truth, labels, predictions, policy=p),
        )
        for p in policies
    ]
    marks = [{"policy": p, "model": model, "sample": sample} for p in policies]
    return [pd.concat(one[i].assign(**mark) for one, mark in zip(parts, marks, strict=True)) for i in (0, 1)]


def by_policy(table):
    return table.set_index("policy")


def both_tables(truth, predictions, **more):
    segmentation, classes = scored(truth, predictions, **more)
    return by_policy(table2(segmentation, bootstrap_n=0)), by_policy(table3(classes, bootstrap_n=0))


def truth_store(**more):
    return Store([grid(), grid()], **more)


def test_perfect_predictions_give_ones():
    second, third = both_tables(truth_store(), truth_store(classes=CLASSES))
    for policy in ("official", "corrected"):
        assert second.loc[policy, ["dice", "jaccard", "bpq", "f1", "precision", "recall"]].tolist() == pytest.approx(
            [1] * 6, abs=1e-5
        )
        assert third.loc[policy, ["macro_f1", "accuracy"]].tolist() == [1, 1]
        assert third.loc[policy, ["nuclei", "false_negatives", "other", "unknown"]].tolist() == [32, 0, 0, 0]


def test_empty_predictions_give_zeros():
    second, third = both_tables(truth_store(), Store([EMPTY, EMPTY]))
    assert second.loc["corrected", ["dice", "jaccard", "bpq", "f1", "recall"]].tolist() == [0] * 5
    assert np.isnan(second.loc["corrected", "precision"])  # nothing was predicted
    # the published code puts a dummy at (0, 0) of each empty patch; the first square's centre lies within 12 px of it
    assert second.loc["official", "f1"] == pytest.approx(2 * 2 / (2 * 2 + 30))
    assert third.loc["corrected", ["nuclei", "false_negatives"]].tolist() == [0, 32]
    assert np.isnan(third.loc["corrected", "accuracy"])


def test_shifted_predictions():
    """Squares of 10 px moved by 2: 80 of 120 px in common, centres 2 px apart, classes kept."""
    moved = Store([np.roll(grid(), 2, 1)] * 2, classes=CLASSES)
    second, third = both_tables(truth_store(), moved)
    for policy in ("official", "corrected"):
        row = second.loc[policy]
        assert row[["dice", "jaccard", "bpq", "f1"]].tolist() == pytest.approx([0.8, 2 / 3, 2 / 3, 1], abs=1e-5)
        assert third.loc[policy, "macro_f1"] == 1


def test_half_outlines_and_as_many_inventions():
    """Left halves match with IoU 1/2, which is no match, and pair by their centres 2.5 px away; one square is invented
    below every patch's grid of nine, so 9 of 18 predictions are right."""
    true, pred = np.zeros((2, 64, 64), np.uint16)
    for k in range(9):
        y, x = 2 + 14 * (k // 3), 2 + 20 * (k % 3)
        true[y : y + 10, x : x + 10] = k + 1
        pred[y : y + 10, x : x + 5] = k + 1
        pred[46 + 6 * (k // 6) : 50 + 6 * (k // 6), 2 + 10 * (k % 6) : 6 + 10 * (k % 6)] = 10 + k
    labels = np.ones(9, np.int64)
    segmentation, _ = scored(Store([true]), Store([pred]), labels=labels, policies=("corrected",))
    row = table2(segmentation, bootstrap_n=0).iloc[0]
    in_common, invented = 9 * 50, 9 * 16
    assert row["bpq"] == 0
    assert row["dice"] == pytest.approx(2 * in_common / (900 + 450 + invented))
    assert row["jaccard"] == pytest.approx(in_common / (900 + invented))
    assert row[["precision", "recall"]].tolist() == pytest.approx([0.5, 1])


def test_random_classes_are_right_as_often_as_chance():
    """Every class is called each of the four once a patch: accuracy and every F1 are one quarter."""
    called = np.tile(np.array([1, 2, 3, 5])[(np.arange(16) % 4 + np.arange(16) // 4) % 4], 2)
    _, third = both_tables(truth_store(), truth_store(classes=called))
    assert third.loc["official", ["macro_f1", "accuracy"]].tolist() == pytest.approx([0.25, 0.25])
    assert third.loc["official", [f"f1_{name}" for name in NAMES]].tolist() == pytest.approx([0.25] * 4)


def test_runs_of_one_model_become_their_mean_and_spread():
    perfect, shifted = truth_store(classes=CLASSES), Store([np.roll(grid(), 2, 1)] * 2, classes=np.roll(CLASSES, 1))
    parts = [scored(truth_store(), one, model=name) for one, name in ((perfect, "m-seed1"), (shifted, "m-seed2"))]
    segmentation, classes = (pd.concat(kind) for kind in zip(*parts, strict=True))
    runs = {"m-seed1": "m", "m-seed2": "m"}
    row = by_policy(table2(segmentation, bootstrap_n=50, runs=runs)).loc["corrected"]
    assert row[["model", "runs", "patches"]].tolist() == ["m", 2, 2]
    assert row["dice"] == pytest.approx(0.9, abs=1e-6)
    assert row["dice_sd"] == pytest.approx(np.std([1, 0.8], ddof=1), abs=1e-6)
    assert row["dice_patch_low"] == pytest.approx(0.9, abs=1e-6)  # both patches are alike in each run
    third = by_policy(table3(classes, bootstrap_n=0, runs=runs)).loc["official"]
    assert third[["runs", "nuclei", "accuracy"]].tolist() == [2, 32, 0.5]
    assert third["accuracy_sd"] == pytest.approx(np.std([1, 0], ddof=1))
    shown = readable(table2(segmentation, bootstrap_n=0, runs=runs))
    assert shown["policy"].tolist() == ["official = corrected"]
    assert shown["dice"][0] == "0.9000 ± 0.1414"
    with pytest.raises(ValueError, match="the runs of m were scored on different patches"):
        table2(segmentation.iloc[1:], bootstrap_n=0, runs=runs)


def test_pannuke_folds_are_means_of_tissue_means_beside_the_published_table():
    tissues = {"tissues": ("Adrenal_gland", "HeadNeck"), "tissue": [0, 1]}
    one = scored(truth_store(**tissues), Store([grid(), grid()], classes=CLASSES), "fold1", policies=("official",))[0]
    other = scored(truth_store(**tissues), Store([grid(), EMPTY]), "fold2", policies=("official",), labels=CLASSES)[0]
    runs, rows = {"fold1": "p", "fold2": "p"}, {"p": "cellvit-256"}
    row = pannuke_table(pd.concat([one, other]), rows, runs).iloc[0]
    assert row[["model", "runs", "tissues", "patches"]].tolist() == ["p", 2, 2, 4]
    assert row["bpq"] == pytest.approx((1 + 0.5) / 2, abs=1e-5)
    assert row["bpq_sd"] == pytest.approx(np.std([1, 0.5], ddof=1), abs=1e-5)
    assert (row["bpq_paper"], row["mpq_paper"]) == (0.6696, 0.4846)
    by_tissue = pannuke_tissues(pd.concat([one, other]), rows, runs).set_index("tissue")
    assert by_tissue["bpq"].tolist() == pytest.approx([1, 0.5], abs=1e-5)
    assert by_tissue["bpq_paper"].tolist() == [0.7009, 0.6472]


def test_published_tissues_give_the_published_means():
    content = published()
    for name, tissues in content["pannuke_tissues"].items():
        assert len(tissues) == 19
        expected = [content["pannuke"][name]["mpq"], content["pannuke"][name]["bpq"]]
        assert np.mean(list(tissues.values()), 0) == pytest.approx(expected, abs=6e-5)


def test_breakdowns_by_organ_class_size_and_confidence():
    truth = truth_store(tissues=("Brain", "Heart"), tissue=[0, 1])
    called = CLASSES.copy()
    called[:16][CLASSES[:16] == 2] = 1  # in the brain every inflammatory nucleus is called neoplastic
    segmentation, classes = scored(truth, Store([grid(), EMPTY], classes=called[:16], probability=0.95), labels=CLASSES)
    organs = organ_table(segmentation, bootstrap_n=0).set_index(["organ", "policy"])
    assert organs.loc[("Brain", "corrected"), "bpq"] == pytest.approx(1)
    assert organs.loc[("Heart", "corrected"), "bpq"] == 0
    by_class = class_table(classes, segmentation)
    own = by_class[by_class["policy"] == "corrected"].set_index("class")
    assert own.loc["Neoplastic", ["true", "predicted"]].tolist() == [8, 8]
    assert own.loc["Neoplastic", "matched_f1"] == pytest.approx(2 * 4 / (2 * 4 + 4))
    assert own.loc["Connective", "pq"] == pytest.approx(0.5)  # found in one patch, missed in the other
    assert own.loc["Inflammatory", "pq"] == 0
    # patch by patch over the classes there are: (2/3 + 0 + 1 + 1) / 4, then 0
    assert own.loc["mean", "pq"] == pytest.approx(((2 / 3 + 2) / 4 + 0) / 2)
    sizes = size_table(segmentation)
    assert sizes[sizes["policy"] == "official"]["recall"].iloc[0] == 0.5
    bins = calibration_table(calibration_tables(classes))
    last = bins[bins["high"] == 1].iloc[0]
    assert (last["count"], last["accuracy"]) == (16, 0.75)
    assert last["ece"] == pytest.approx(0.2)


def test_score_files_footnotes_and_annotations(tmp_path):
    pd.DataFrame({"patch": [0], "pq": [0.5]}).to_parquet(tmp_path / "a.parquet")
    scores = read_scores([("m", "s")], [tmp_path / "a.parquet"])
    assert scores.loc[0, ["model", "sample", "pq"]].tolist() == ["m", "s", 0.5]
    assert read_scores([], []).empty
    assert footnotes("A note.", ["a and b share a donor"]) == "A note.\n\n**Note:** a and b share a donor."
    annotation = pd.DataFrame({"cell_id": ["7", "5"], "label": ["Connective", "Neoplastic"]})
    table = annotation_table(annotation, [5, 6, 7])
    assert table["label"].tolist() == ["Neoplastic", "Unknown", "Connective"]
    assert table["confidence"].tolist() == [1, 0, 1]
    assert table["cluster"].dtype == np.int32

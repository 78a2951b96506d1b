"""Scores by class, size, tissue, confidence and over runs, each against a case worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evaluation.stores import Store, grid
from stnuclei.errors import UserError
from stnuclei.evaluation import by_class, by_size, calibration, over_runs, pannuke_table, score_segmentation
from stnuclei.metrics import expected_calibration_error


def rows(*counts):
    frame = pd.DataFrame(counts, columns=["true", "pred", "bin", "count"])
    frame["probability"] = frame["bin"].map({9: 0.99, 5: 0.52, -1: np.nan})
    return frame.assign(patch=0, tissue="Colon")


PAIRS = rows(
    ("Neoplastic", "Neoplastic", 9, 6),
    ("Neoplastic", "Connective", 5, 2),
    ("Connective", "Neoplastic", 5, 1),
    ("Connective", "Connective", 9, 3),
    ("Neoplastic", "Unpaired", -1, 4),
    ("Unpaired", "Connective", 9, 5),
    ("Unknown", "Neoplastic", 9, 7),
    ("Unknown", "Unpaired", -1, 7),
)


def test_by_class_counts_as_the_official_code():
    table = by_class(PAIRS).set_index("class")
    # F1 = 2TP/(2TP+2FP+2FN+FPd+FNd), P = TP/(TP+2FP+FPd), R = TP/(TP+2FN+FNd), as HoVer-Net and CellViT count
    expected = {"Neoplastic": (6, 1, 2, 0, 4), "Connective": (3, 2, 1, 5, 0)}
    for name, (tp, fp, fn, fpd, fnd) in expected.items():
        scores = 2 * tp / (2 * tp + 2 * fp + 2 * fn + fpd + fnd), tp / (tp + 2 * fp + fpd), tp / (tp + 2 * fn + fnd)
        assert table.loc[name, ["f1", "precision", "recall"]].tolist() == pytest.approx(list(scores))
    assert table.loc["Neoplastic", ["true", "predicted"]].tolist() == [12, 7]
    assert table.loc["Neoplastic", "matched_f1"] == pytest.approx(12 / 15)
    assert np.isnan(table.loc["Dead", "f1"])


def test_calibration_by_hand():
    table = calibration(PAIRS)
    assert table[["low", "count", "accuracy"]].to_numpy().tolist() == [[0.5, 3, 0], [0.9, 9, 1]]
    # the mean confidence of the bins, not their middle: 0.52 and 0.99
    assert table["confidence"].tolist() == pytest.approx([0.52, 0.99])
    assert expected_calibration_error(table) == pytest.approx((3 * 0.52 + 9 * 0.01) / 12)
    assert np.isnan(expected_calibration_error(calibration(PAIRS.iloc[:0])))


def test_by_size():
    big = np.zeros((64, 64), np.uint16)
    big[2:50, 2:50] = 1  # 144 um2
    scores = score_segmentation(Store([grid(), big]), Store([grid(), np.zeros_like(big)]))
    table = by_size(scores)
    assert table["true"].tolist() == [16, 0, 0, 1] and table["matched"].tolist() == [16, 0, 0, 0]
    assert table["recall"][0] == 1 and table["recall"][3] == 0 and np.isnan(table["recall"][1])


def test_pannuke_is_a_mean_of_tissue_means():
    truth = Store([grid()] * 3, tissues=("Breast", "Colon"), tissue=[0, 0, 1])
    empty = np.zeros_like(grid())
    pred = Store([grid(), empty, grid()])
    labels = np.ones(48, np.int8)
    scores = score_segmentation(truth, pred, labels=labels).assign(model="cellvit-256", policy="official")
    row = pannuke_table(scores).iloc[0]
    assert row["bpq"] == pytest.approx((0.5 + 1) / 2, abs=1e-6) and row["bpq_patches"] == pytest.approx(2 / 3, abs=1e-6)
    assert row["mpq"] == pytest.approx(0.75, abs=1e-6) and row["bpq_paper"] == 0.6696 and row["tissues"] == 2


def test_over_runs():
    table = pd.DataFrame({"model": ["a1", "a2", "b"], "policy": "official", "dice": [0.5, 0.7, 0.9]})
    out = over_runs(table, {"a1": "a", "a2": "a"}, ("dice",)).set_index("model")
    assert out.loc["a", "runs"] == 2 and out.loc["a", "dice"] == pytest.approx(0.6)
    assert out.loc["a", "dice_sd"] == pytest.approx(np.sqrt(0.02)) and np.isnan(out.loc["b", "dice_sd"])


def test_samples_must_agree():
    truth, pred = Store([grid()]), Store([grid()])
    truth.attrs, pred.attrs = {"sample": "a"}, {"sample": "b"}
    with pytest.raises(UserError, match="of sample b"):
        score_segmentation(truth, pred)

"""Scores of stores and the tables made of them: perfect, empty, shifted and random predictions worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evaluation.stores import Store, grid
from paths import ROOT
from stnuclei.errors import UserError
from stnuclei.evaluation import (
    confusion_table,
    describe_store,
    readable,
    score_classification,
    score_segmentation,
    table1,
    table2,
    table3,
    write_table,
)
from stnuclei.evaluation.bootstrap import bootstrap
from stnuclei.evaluation.nucleus_errors import count_errors, trace_errors
from stnuclei.evaluation.overlap import joint_histogram
from stnuclei.evaluation.tables import published, published_row

EMPTY = np.zeros((64, 64), np.uint16)


def scores_of(truth, predictions, policy="official", **more):
    return score_segmentation(truth, predictions, policy, **more)


def table_row(truth, predictions, policy):
    frame = scores_of(truth, predictions, policy).assign(model="m", sample="s", policy=policy)
    return table2(frame, bootstrap_n=0).iloc[0]


def test_perfect_predictions():
    truth = Store([grid(), grid(3)])
    for policy in ("official", "corrected"):
        row = table_row(truth, truth, policy)
        for metric in ("dice", "jaccard", "bpq", "f1", "precision", "recall"):
            assert row[metric] == pytest.approx(1, abs=1e-6)


def test_no_predictions():
    truth, nothing = Store([grid(), grid(3)]), Store([EMPTY, EMPTY])
    row = table_row(truth, nothing, "corrected")
    assert row["dice"] == row["bpq"] == row["recall"] == row["f1"] == 0 and np.isnan(row["precision"])
    official = scores_of(truth, nothing)
    assert official[["tp", "fp", "fn"]].to_numpy().tolist() == [[1, 0, 15], [1, 0, 8]]  # dummy near a square


def test_shifted_predictions():
    truth, shifted = Store([grid()]), Store([np.roll(grid(), 2, 1)])
    row = table_row(truth, shifted, "corrected")
    assert row["dice"] == pytest.approx(0.8) and row["bpq"] == pytest.approx(2 / 3) and row["f1"] == 1
    far = table_row(truth, Store([np.roll(grid(), (5, 5), (0, 1))]), "corrected")  # IoU 25/175, 7 px between centroids
    assert far["bpq"] == 0 and far["f1"] == 1


def test_patches_without_nuclei_by_policy():
    truth, pred = Store([EMPTY, EMPTY, grid()]), Store([EMPTY, grid(), grid()])
    official, corrected = scores_of(truth, pred), scores_of(truth, pred, "corrected")
    assert official["dice"].tolist() == [0, 0, 1] and np.isnan(corrected["dice"][0])
    assert np.isnan(official["pq"][:2]).all() and np.isnan(corrected["pq"][0]) and corrected["pq"][1] == 0
    assert official[["tp", "fp", "fn"]].to_numpy().tolist()[0] == [1, 0, 0]
    assert official[["tp", "fp", "fn"]].to_numpy().tolist()[1][1:] == [15, 0]  # the first square is near the corner
    assert corrected[["tp", "fp", "fn"]].to_numpy().tolist() == [[0, 0, 0], [0, 16, 0], [16, 0, 0]]


def test_official_leaves_out_predictions_without_class_or_outline():
    pred = grid()
    line = pred.copy()
    line[60, 20:30] = 17
    classes = np.ones(17, np.int8)
    classes[3] = 0
    official, corrected = (
        scores_of(Store([pred]), Store([line], classes), p).iloc[0] for p in ("official", "corrected")
    )
    assert official["matched"] == 15 and official["fp"] == 0 and official["fn"] == 1
    assert corrected["matched"] == 16 and corrected["fp"] == 1
    assert official["n_pred"] == 17


def test_class_panoptic_quality_and_unknown_truth():
    truth = Store([grid()])
    true_classes = np.array([1] * 8 + [2] * 4 + [-1] * 4, np.int8)
    pred = Store([grid()], [1] * 8 + [2] * 2 + [3] * 2 + [1] * 4)
    row = scores_of(truth, pred, labels=true_classes).iloc[0]
    assert row["pq_Neoplastic"] == pytest.approx(1, abs=1e-6)  # predictions on Unknown are excused
    assert row["pq_Inflammatory"] == pytest.approx(2 / 3, abs=1e-6)  # TP 2, FN 2
    assert np.isnan(row["pq_Connective"])  # none in the truth
    corrected = scores_of(truth, pred, "corrected", labels=true_classes).iloc[0]
    assert corrected["pq_Connective"] == 0 and np.isnan(corrected["pq_Dead"])


def test_threads_change_nothing():
    rng = np.random.default_rng(0)
    truth = Store([grid(int(n)) for n in rng.integers(1, 6, 30)])
    pred = Store([np.roll(m, 1, 0) for m in truth.instances], rng.integers(0, 6, truth.offset[-1]))
    labels = rng.integers(1, 6, truth.offset[-1]).astype(np.int8)
    pd.testing.assert_frame_equal(scores_of(truth, pred), scores_of(truth, pred, threads=3))
    one, two = (score_classification(truth, labels, pred, threads=n) for n in (1, 3))
    pd.testing.assert_frame_equal(one, two)


def test_stores_that_do_not_belong_together():
    with pytest.raises(UserError, match="predict again"):
        scores_of(Store([EMPTY]), Store([EMPTY, EMPTY]))
    with pytest.raises(UserError, match="labels: has 3 rows but the patch store was cut from one of 16 cells or more"):
        scores_of(Store([grid()]), Store([grid()]), labels=pd.DataFrame({"label": ["Neoplastic"] * 3}))
    with pytest.raises(UserError, match="Epitelial"):
        scores_of(Store([grid()]), Store([grid()]), labels=pd.DataFrame({"label": ["Epitelial"] * 16}))
    with pytest.raises(UserError, match="holds 16"):
        scores_of(Store([grid()]), Store([grid()]), labels=np.ones(3, np.int8))


def test_labels_from_a_table_and_nuclei_without_a_cell():
    truth = Store([grid()])
    truth.cell_index[:4] = -1
    labels = pd.DataFrame({"label": ["Neoplastic"] * 16})
    table = confusion_table(score_classification(truth, labels, truth))
    assert table.loc["Unknown", "Neoplastic"] == 4 and table.loc["Neoplastic", "Neoplastic"] == 12


def test_classification_by_hand():
    truth = Store([grid(), grid()])
    true = np.array([1] * 16 + [2] * 8 + [5] * 4 + [-1] * 4, np.int8)
    pred = Store([grid(), grid()], [1] * 12 + [2] * 4 + [2] * 6 + [4] * 2 + [5] * 2 + [0] * 2 + [3] * 4)
    scores = score_classification(truth, true, pred, policy="corrected")
    table = confusion_table(scores)
    assert table.loc["Neoplastic"].to_dict() | {} == {
        "Background": 0,
        "Connective": 0,
        "Dead": 0,
        "Epithelial": 0,
        "Inflammatory": 4,
        "Neoplastic": 12,
    }
    assert table.loc["Inflammatory", "Dead"] == 2 and table.loc["Unknown", "Connective"] == 4
    assert set(scores["bin"]) == {7} and scores["count"].sum() == 32
    row = table3(scores.assign(model="m", sample="s", policy="corrected"), bootstrap_n=0).iloc[0]
    assert (row["nuclei"], row["unknown"], row["other"], row["false_negatives"]) == (24, 4, 4, 0)
    # F1: Neoplastic 24/28, Inflammatory 12/(6+10), Epithelial 1; Connective: neither truth nor scored prediction
    assert row["macro_f1"] == pytest.approx(np.mean([24 / 28, 12 / 16, 1]))
    assert row["accuracy"] == pytest.approx(20 / 24)
    strict = table3(scores.assign(model="m", sample="s", policy="c"), bootstrap_n=0, other="wrong").iloc[0]
    assert strict["nuclei"] == 28 and strict["accuracy"] == pytest.approx(20 / 28)
    assert strict["f1_Epithelial"] == pytest.approx(4 / 6)


def test_unpaired_nuclei_are_counted():
    pred = grid()
    pred[pred == 1] = 0
    pred[pred == 16] = 1
    scores = score_classification(Store([grid()]), np.ones(16, np.int8), Store([pred]), policy="corrected")
    table = confusion_table(scores)
    assert table.loc["Neoplastic", "Unpaired"] == 1 and table.loc["Neoplastic", "Neoplastic"] == 15
    assert scores.loc[scores["pred"] == "Unpaired", "bin"].tolist() == [-1]


def test_errors_are_told_apart():
    true = np.zeros((40, 80), int)
    true[2:12, 2:12], true[2:12, 12:22], true[2:12, 30:50], true[20:30, 2:12], true[20:30, 30:40] = 1, 2, 3, 4, 5
    pred = np.zeros_like(true)
    pred[2:12, 2:22] = 1  # 1 and 2 merged
    pred[2:12, 30:40], pred[2:12, 40:50] = 2, 3  # 3 split
    pred[20:30, 8:22] = 4  # 4 badly outlined
    pred[30:38, 60:70] = 5  # a false positive; 5 is a false negative
    overlap = joint_histogram(true, pred)
    assert count_errors(overlap) == dict.fromkeys(("false_negative", "false_positive", "split", "merged", "outline"), 1)
    of_true, of_pred = trace_errors(overlap)
    assert of_true == {1: "merged", 2: "merged", 3: "split", 4: "outline", 5: "false_negative"}
    assert of_pred == {1: "merged", 2: "split", 3: "split", 4: "outline", 5: "false_positive"}
    same = trace_errors(joint_histogram(true, true), (np.array([1, 1, 1, 1, -1]), np.array([1, 2, 1, 1, 3])))
    assert list(same[0].values()) == ["correct", "class", "correct", "correct", "correct"]


def test_nuclei_by_size():
    row = scores_of(Store([grid()]), Store([grid()])).iloc[0]  # 100 px = 6.25 um2
    assert row["true_0-15um2"] == row["matched_0-15um2"] == 16 and row["true_60um2+"] == 0


def test_bootstrap_is_seeded_and_covers():
    rng = np.random.default_rng(0)
    sums = np.column_stack([rng.normal(0.6, 0.1, 2000), np.ones(2000)])
    ratio = lambda s: s[..., :1] / s[..., 1:]  # noqa: E731
    low, high = bootstrap(sums, ratio, n=500, seed=3)
    assert low < 0.6 < high and high - low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(2000), rel=0.15)
    assert (low, high) == bootstrap(sums, ratio, n=500, seed=3)
    slides = np.repeat(np.arange(4), 500)
    shifted = sums + np.column_stack([slides * 0.1, np.zeros(2000)])
    wide = bootstrap(shifted, ratio, slides, n=500)
    assert wide[1] - wide[0] > 3 * (high - low)
    assert np.isnan(bootstrap(sums, ratio, np.zeros(2000), n=10)[0]).all()  # one slide tells nothing about slides


def test_table1_beside_the_paper(tmp_path):
    sets = [describe_store(Store([grid()] * 3, tissues=(t,)), "HEST-1k", "train") for t in ("Colon", "Lung", "Colon")]
    frame = table1([*sets, describe_store(Store([grid()]), "own", "test")])
    assert frame.loc[0, ["tissues", "slides", "patches", "nuclei"]].tolist() == [2, 3, 9, 144]
    assert frame.loc[0, "paper_patches"] == 373214 and pd.isna(frame.loc[1, "paper_patches"])
    touched = Store([grid()] * 3)
    touched.nucleus_index = touched.nucleus_index % 16  # the same 16 nuclei, cut by three patches
    row = table1([describe_store(touched, "HEST-1k", "cls_eval")]).iloc[0]
    assert (row["nuclei"], row["nuclei_in_patches"], row["paper_nuclei_in_patches"]) == (16, 48, 219342)
    assert pd.isna(row["paper_nuclei"])
    write_table(frame, tmp_path / "t.tsv", tmp_path / "t.md", "Table 1", "A note.")
    assert "9 [373,214]" in (tmp_path / "t.md").read_text()
    assert len(pd.read_csv(tmp_path / "t.tsv", sep="\t")) == 2


def test_the_papers_held_out_slides_are_of_four_organs():
    """As HEST-1k's column organ groups them; by tissue they would be six."""
    table = pd.read_csv(ROOT / "config" / "paper" / "samples.tsv", sep="\t")
    for split, tissues in (("train", 9), ("seg_eval", 4)):
        own = table.loc[table["split"] == split, "tissue"]
        entries = [
            dict.fromkeys(("slides", "patches", "nuclei", "nuclei_in_patches"), 1) | {"tissues": [t]} for t in own
        ]
        row = table1([entry | {"dataset": "HEST-1k", "split": split} for entry in entries]).iloc[0]
        assert (row["tissues"], row["paper_tissues"]) == (tissues, tissues)


def test_deltas_are_differences_to_the_model_trained_on_manual_labels():
    truth = Store([grid()] * 2)
    parts = [
        scores_of(truth, Store([np.roll(grid(), shift, 1)] * 2), policy).assign(policy=policy, model=model, sample="s")
        for model, shift in (("st", 0), ("hand", 4))
        for policy in ("official", "corrected")
    ]
    rows = {"st": "stnuclei", "hand": "manual"}
    table = table2(pd.concat(parts), bootstrap_n=0, rows=rows).set_index(["model", "policy"])
    for policy in ("official", "corrected"):
        expected = table.loc[("st", policy), "dice"] - table.loc[("hand", policy), "dice"]
        assert table.loc[("st", policy), "dice_delta"] == pytest.approx(expected) and expected > 0.1
        assert pd.isna(table.loc[("hand", policy), "dice_delta"])
    assert readable(table.reset_index())["dice"][0].startswith("1.0000 Δ +")
    assert "dice_delta" not in table2(pd.concat(parts), bootstrap_n=0, rows={"st": "stnuclei"})


def test_table2_has_intervals_and_the_papers_row(tmp_path):
    rng = np.random.default_rng(1)
    truth = Store([grid()] * 20)
    pred = Store([np.roll(grid(), int(s), 1) for s in rng.integers(0, 5, 20)])
    frames = [
        scores_of(truth, pred, p).assign(policy=p, model="st", sample=[f"s{i % 4}" for i in range(20)])
        for p in ("official", "corrected")
    ]
    table = table2(pd.concat(frames), bootstrap_n=200, rows={"st": "stnuclei"})
    assert table["policy"].tolist() == ["official", "corrected"] and table["slides"].tolist() == [4, 4]
    row = table.iloc[0]
    assert row["bpq_patch_low"] < row["bpq"] < row["bpq_patch_high"] and row["bpq_slide_low"] <= row["bpq"]
    assert row["bpq_paper"] == 0.4018
    assert row["bpq"] == pytest.approx(frames[0]["pq"].mean())
    write_table(table, tmp_path / "t.tsv", tmp_path / "t.md")
    assert "[0.4018]" in (tmp_path / "t.md").read_text()
    write_table(pd.DataFrame({"model": ["a"], "dice": [0.891]}), tmp_path / "t.tsv", tmp_path / "t.md")
    assert "0.8910 |" in (tmp_path / "t.md").read_text()
    pd.testing.assert_frame_equal(table, table2(pd.concat(frames), bootstrap_n=200, rows={"st": "stnuclei"}))


def test_published_figures():
    content = published()
    assert content["table1"]["Seg.-Eval"] == {"tissues": 4, "slides": 8, "patches": 73091, "nuclei": 3704652}
    assert published_row("table3", "paper") == ("Ours", {"macro_f1": 0.3492, "accuracy": 0.5359})
    assert published_row("table3", "nobody") == ("", {})

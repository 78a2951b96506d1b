"""Leakage cannot be configured: no slide, donor or held-out organ on two sides, by any way of naming it."""

import pandas as pd
import pytest

from paths import ROOT
from stnuclei.config import check_models, expand_sources, pannuke_organ_warnings, read_samples, shared_donors
from stnuclei.config.leakage import PANNUKE_TISSUES, organ_of, pannuke_tissues
from stnuclei.errors import UserError

HEADER = "sample\tplatform\tpath\the_image\ttissue\tsplit\tdonor\tannotation\thest_id"
CONFIG = {"pannuke": {"path": "p", "folds": [1, 2, 3]}, "evaluation": {}}


def table(tmp_path, *rows, allowed=()):
    path = tmp_path / "samples.tsv"
    path.write_text("\n".join([HEADER, *("\t".join(row) for row in rows)]) + "\n")
    return read_samples(path, (), allowed)


def row(sample, split, tissue="Breast", path="", donor="", image="", hest_id=""):
    annotation = "a.csv" if split == "cls_eval" else ""
    return (sample, "xenium", path or f"data/{sample}", image, tissue, split, donor, annotation, hest_id)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [row("a", "train", path="d/x"), row("b", "cls_eval", path="d/./y/../x")],
            "a and b, column path: the same slide",
        ),
        ([row("a", "train", path="d"), row("b", "train", path="d")], "a and b, column path: the same slide"),
        ([row("a", "train", path="d"), row("b", "none", path="d")], "a and b, column path: the same slide"),
        ([row("a", "val", path="d", hest_id="T1"), row("b", "cls_eval", path="d")], "a and b, column path"),
        ([row("a", "train", path="d", hest_id="T1"), row("b", "cls_eval", path="d", hest_id="t1")], "column path"),
        ([row("a", "train", hest_id="T1"), row("b", "val", hest_id="t1")], "a and b, column hest_id: the same slide"),
        ([row("a", "train", image="h.tif"), row("b", "val", image="./h.tif")], "a and b, column he_image"),
        ([row("a", "train", "Skin"), row("b", "seg_eval", "Skin")], "sample b, column tissue: seg_eval takes organs"),
        ([row("a", "val", "Bowel"), row("b", "seg_eval", "Colon")], r"Bowel \(the same organ as Colon\)"),
        ([row("a", "train", donor="P 1"), row("b", "cls_eval", donor="p  1")], "a, b, column donor: P 1 is in"),
        ([row("a", "train", donor="p"), row("b", "val", donor="p")], "column donor: p is in train and val"),
    ],
)
def test_tables_with_something_on_two_sides_are_refused(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        table(tmp_path, *rows)


def test_what_is_no_leak_is_let_through(tmp_path):
    samples = table(
        tmp_path,
        row("a", "train", path="d", hest_id="T1", donor="p"),
        row("b", "train", path="d", hest_id="T2", donor="p"),
        row("c", "seg_eval", "Brain", path="e", donor="q"),
        row("d", "cls_eval", "Brain", path="e", donor="q"),
        row("e", "none", donor="q"),
    )
    assert len(samples) == 5


def test_a_named_donor_may_be_shared_and_is_told(tmp_path):
    rows = [row("a", "train", donor="P1"), row("b", "cls_eval", donor="P1"), row("c", "val", donor="P2")]
    samples = table(tmp_path, *rows, allowed=["p1"])
    (warning,) = shared_donors(samples, ["p1"])
    assert "a, b" in warning
    assert "P1 is in cls_eval and train" in warning
    assert shared_donors(samples, []) == []
    with pytest.raises(UserError, match="allow_shared_donors: 'P2' is no donor on two sides"):
        table(tmp_path, *rows, allowed=["P1", "P2"])
    with pytest.raises(UserError, match="a and d, column path"):  # a donor may be permitted, a slide never
        table(tmp_path, *rows, row("d", "cls_eval", path="data/a", donor="P1"), allowed=["P1"])


def check(samples, *, config=CONFIG, **parts):
    sources = {"m": {part: expand_sources(entries, config, samples, part) for part, entries in parts.items()}}
    check_models(sources, samples, config)


@pytest.fixture
def samples(tmp_path):
    return table(
        tmp_path,
        row("a", "train", donor="p"),
        row("v", "val", donor="v"),
        row("brain", "seg_eval", "Brain"),
        row("c", "cls_eval", donor="c"),
        row("sibling", "none", donor="c"),
        row("cousin", "none", donor="v"),
        row("cortex", "none", "Brain"),
    )


def named(*names):
    return [{"samples": list(names), "labels": "paper"}]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": named("a", "brain")}, "m.train: brain is a slide of split seg_eval, which no model may learn from"),
        ({"train": [{"samples": "cls_eval", "labels": "paper"}]}, "m.train: c is a slide of split cls_eval"),
        ({"train": named("a"), "validation": named("c")}, "m.validation: c is a slide of split cls_eval"),
        ({"train": named("a"), "validation": named("a")}, "m: a is in train and in validation"),
        ({"train": named("sibling")}, "m.train: sibling and c are of one donor, c"),
        ({"train": named("cousin"), "validation": named("v")}, "m.train: cousin and v are of one donor"),
        ({"train": named("cortex")}, "m.train: cortex is of the organ of brain, Brain, which seg_eval holds out"),
        ({"train": [{"pannuke": [1]}], "test": [{"pannuke": [1]}]}, "m: PanNuke's fold 1 is in train and in test"),
        ({"train": [{"pannuke": [1]}], "validation": [{"pannuke": [1]}]}, "fold 1 is in train and in validation"),
        (
            {"train": named("a"), "validation": [{"pannuke": [2]}], "test": [{"pannuke": [2]}]},
            "m: PanNuke's fold 2 is in validation and in test",
        ),
    ],
)
def test_models_scored_on_what_they_learnt_from_are_refused(samples, parts, message):
    with pytest.raises(UserError, match=message):
        check(samples, **parts)


def test_honest_models_are_let_through(samples):
    check(samples, train=named("a", "cousin"), test=[{"pannuke": [3]}])
    check(samples, train=[{"pannuke": [1]}], validation=[{"pannuke": [2]}], test=[{"pannuke": [3]}])


def test_organs_of_pannuke_are_held_out_from_pannuke_models_only(tmp_path):
    samples = table(tmp_path, row("a", "train"), row("k", "seg_eval", "Kidney"))
    check(samples, train=named("a"))
    with pytest.raises(UserError, match=r"PanNuke's folds hold Kidney, the organ of k \(seg_eval\)"):
        check(samples, train=[{"pannuke": [1]}])
    permitted = {**CONFIG, "evaluation": {"allow_pannuke_organs": ["Kidney"]}}
    check(samples, train=[{"pannuke": [1]}], config=permitted)
    sources = {"rival": {"train": expand_sources([{"pannuke": [1]}], permitted, samples, "x")}}
    (warning,) = pannuke_organ_warnings(sources, samples, permitted)
    assert "k (seg_eval) is Kidney" in warning
    assert "rival" in warning
    simulated = {**CONFIG, "simulate": {"pannuke": {"tissues": ["Breast"]}}}
    check(samples, train=[{"pannuke": [1]}], config=simulated)


def test_names_of_organs():
    assert organ_of("Colon") == organ_of("bowel")
    assert organ_of("Bile-duct") == "bile duct"
    assert organ_of("Brain") != organ_of("Heart")
    assert len(PANNUKE_TISSUES) == len(set(map(organ_of, PANNUKE_TISSUES))) == 19
    assert pannuke_tissues({}) == PANNUKE_TISSUES
    organs = pd.read_csv(ROOT / "resources" / "markers" / "tissue_map.tsv", sep="\t")["tissue"].map(organ_of)
    assert set(map(organ_of, PANNUKE_TISSUES)) <= set(organs)

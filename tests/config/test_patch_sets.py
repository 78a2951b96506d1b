"""Which patch sets a model's entries name."""

import pandas as pd
import pytest

from stnuclei.config import PatchSet, check_pixel_sizes, expand_sources, label_methods, patch_sets, read_samples
from stnuclei.config.patch_sets import fold_of, fold_set
from stnuclei.errors import UserError

SAMPLES = pd.DataFrame({"sample": ["a", "b", "c"], "split": ["train", "train", "val"]}).set_index("sample", drop=False)
CONFIG = {
    "pannuke": {"path": "p", "folds": [1, 2]},
    "labels": {"methods": ["paper"]},
    "models": {"m": {"train": [{"samples": "train", "labels": "ucell"}, {"pannuke": [1]}]}},
}


def test_splits_names_and_folds():
    entries = [{"samples": "train", "labels": "paper"}, {"samples": ["c"], "labels": "ucell"}, {"pannuke": [2]}]
    assert expand_sources(entries, CONFIG, SAMPLES, "here") == [
        PatchSet("a", "paper"),
        PatchSet("b", "paper"),
        PatchSet("c", "ucell"),
        PatchSet("pannuke_2", "manual"),
    ]
    assert patch_sets(CONFIG, SAMPLES) == ["a", "b", "c", "pannuke_1", "pannuke_2"]
    assert label_methods(CONFIG) == ["paper", "ucell"]


@pytest.mark.parametrize(
    ("entry", "config", "message"),
    [
        ({"samples": ["x"], "labels": "paper"}, CONFIG, r"here\[0\].samples: x not in the samples table"),
        ({"pannuke": [3]}, CONFIG, "fold 3 is not in pannuke.folds"),
        ({"pannuke": [1]}, {"pannuke": {"path": "", "folds": [1]}}, "pannuke.path is empty"),
    ],
)
def test_what_is_not_there_is_named(entry, config, message):
    with pytest.raises(UserError, match=message):
        expand_sources([entry], config, SAMPLES, "here")


def test_tissues_of_a_fold_are_a_set_of_their_own_and_still_that_fold():
    few, many = fold_set(2, ["Colon", "Breast"]), fold_set(2, ["Breast", "Colon", "Kidney", "Liver"])
    assert few.name == "pannuke_2_breast_colon" and few == fold_set(2, ["Breast", "Colon"])
    assert many.name.startswith("pannuke_2_4tissues_") and len(many.name) == len("pannuke_2_4tissues_") + 6
    assert [fold_of(part.name) for part in (few, many, fold_set(3))] == [2, 2, 3] and fold_of("breast") is None


def test_a_model_cannot_learn_from_own_labels_that_nobody_gave(tmp_path):
    path = tmp_path / "samples.tsv"
    rows = ["a\txenium\td\tBreast\tcells.h5ad#type", "b\txenium\te\tBreast\t"]
    path.write_text("\n".join(["sample\tplatform\tpath\ttissue\tlabels", *rows]) + "\n")
    samples = read_samples(path)
    config = {"pannuke": {"path": "", "folds": []}}
    assert expand_sources([{"samples": ["a"], "labels": "own"}], config, samples, "models.m.train")
    with pytest.raises(UserError, match=r"models.m.train\[0\].labels: own takes .* empty for b"):
        expand_sources([{"samples": "train", "labels": "own"}], config, samples, "models.m.train")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("cells.h5ad\t", "column labels: name the column of obs: cells.h5ad#column"),
        ("\tmap.tsv", "column labels_map: there is a mapping but no labels to map"),
    ],
)
def test_mistakes_in_the_columns_of_own_labels(tmp_path, row, problem):
    path = tmp_path / "samples.tsv"
    path.write_text(f"sample\tplatform\tpath\ttissue\tlabels\tlabels_map\na\txenium\td\tBreast\t{row}\n")
    with pytest.raises(UserError, match=problem):
        read_samples(path)


def sizes(um, seen, **model):
    patches, segmentation = {"um_per_px": um}, {"network_um_per_px": seen}
    return {"patches": patches, "segmentation": segmentation, "models": {"st": model}, "classifiers": {}}


def test_pixel_sizes_that_models_would_mix_up_are_refused_before_any_job():
    samples = {"train": [{"samples": "train", "labels": "paper"}]}
    folds = {**samples, "validation": [{"pannuke": [2]}]}
    check_pixel_sizes(sizes(0.25, 0.25, **folds), {"st"})
    check_pixel_sizes(sizes(0.5, 0.5, **samples), {"st"})
    check_pixel_sizes(sizes(0.5, 0.25, **samples), [])  # only official checkpoints segment here
    with pytest.raises(UserError) as caught:
        check_pixel_sizes(sizes(0.5, 0.25, **folds), {"st"})
    assert "patches.um_per_px: 0.5, but PanNuke's patches have 0.25 um/px" in str(caught.value)
    assert "segmentation.network_um_per_px: 0.25, but st learn from patches of 0.5 um/px" in str(caught.value)

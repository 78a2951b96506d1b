"""Block `classifiers`: wrong names are told with the nearest, before any job."""

import pytest

from stnuclei import config as settings
from stnuclei.errors import UserError
from stnuclei.taxonomy import Taxonomy

TRAIN = [{"samples": ["a"], "labels": "stnuclei"}]


def checked(entry, **others):
    config = settings.check_config({"classifiers": {"fine": {"model": "st", "train": TRAIN, **entry}}, **others})
    settings.check_classifiers(config, list(config["models"]))
    return config


def test_what_is_left_out_has_its_default():
    entry = checked({})["classifiers"]["fine"]
    assert entry["tokens"] == "box" and entry["nuclei"] == "run" and entry["head"]["hidden"] == 128
    assert settings.ClassifierSettings(**entry["head"]).seed == 19
    assert settings.classifier_taxonomy(entry, {"taxonomy": "pannuke"}) == "pannuke"
    assert settings.own_taxonomy({"taxonomy": "my/puma.yaml"}, {"taxonomy": "pannuke"}) == "puma"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"model": "ts"}, "classifiers.fine.model: no model 'ts'; did you mean 'st'?"),
        ({"tokns": "box"}, "classifiers.fine.tokns: unknown key; did you mean 'tokens'?"),
        ({"head": {"hiden": 3}}, "classifiers.fine.head.hiden: unknown key; did you mean 'hidden'?"),
        ({"head": {"epochs": 0}}, "classifiers.fine.head.epochs: must be at least 1, not 0"),
        ({"tokens": "cell"}, "'cell' is none of box, centre, nucleus"),
        ({"taxonomy": "tissue12"}, "classifiers.fine.taxonomy: taxonomy 'tissue12' is not shipped"),
        (
            {"taxonomy": "tissue11", "head": {"class_weights": {"T cells": 2}}},
            "classifiers.fine.head.class_weights.T cells: no such class; did you mean 'T cell'?",
        ),
        ({"taxonomy": "tissue11", "train": [{"pannuke": [1]}]}, "PanNuke's manual labels are in pannuke"),
    ],
)
def test_problems_are_told(entry, message):
    with pytest.raises(UserError) as error:
        checked(entry)
    assert message in str(error.value)


def test_a_classifier_has_a_name_of_its_own():
    with pytest.raises(UserError, match="classifiers.fine: a model has this name"):
        checked({"model": "fine"}, models={"fine": {"train": TRAIN}})


def test_its_labels_and_folds_are_made():
    config = checked({"train": [{"samples": ["a"], "labels": "ucell"}, {"pannuke": [2], "tissues": ["Breast"]}]})
    assert "ucell" in settings.label_methods(config)
    config["pannuke"]["path"] = "folder"
    assert "pannuke_2_breast" in [entry.name for entry in settings.pannuke_sets(config)]


def test_taxonomies_that_add_up():
    assert settings.collapses("tissue11", "pannuke") and not settings.collapses("pannuke", "tissue11")
    assert Taxonomy.load("tissue11").collapse

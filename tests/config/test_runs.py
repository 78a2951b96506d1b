"""Several seeds of one model, and models that are runs of one thing."""

import pytest

from stnuclei.config import expand_runs
from stnuclei.errors import UserError

TRAIN = [{"pannuke": [1]}]


def test_each_seed_becomes_a_model():
    models, groups = expand_runs({"st": {"train": TRAIN, "seeds": [1, 2]}, "fold1": {"train": TRAIN, "run_of": "p"}})
    assert models == {
        "st-seed1": {"train": TRAIN, "seed": 1},
        "st-seed2": {"train": TRAIN, "seed": 2},
        "fold1": {"train": TRAIN},
    }
    assert groups == {"st-seed1": "st", "st-seed2": "st", "fold1": "p"}


def test_names_that_clash_are_refused():
    with pytest.raises(UserError, match="models.st: give either seed or seeds"):
        expand_runs({"st": {"train": TRAIN, "seeds": [1], "seed": 2}})
    with pytest.raises(UserError, match="models.st-seed1: there are two models"):
        expand_runs({"st": {"train": TRAIN, "seeds": [1]}, "st-seed1": {"train": TRAIN}})

"""A training that learned nothing says so."""

from __future__ import annotations

import pandas as pd
import pytest

from stnuclei.training.diagnosis import learning_problems

GOOD = {"epoch": [1.0, 2.0], "train_loss": [9.0, 8.0], "val_detection_recall": [0.4, 0.6], "val_pairs": [80.0, 120.0]}
GOOD |= {"val_f1_Neoplastic": [0.2, 0.5], "val_f1_Connective": [0.0, 0.3]}


def problems(**changed):
    return learning_problems(pd.DataFrame(GOOD | changed))


def test_a_training_that_learns_has_no_problem():
    assert problems() == []
    assert problems(val_detection_recall=[0.0, 0.6]) == []  # what counts is the end
    assert learning_problems(pd.DataFrame({"epoch": [1.0], "train_loss": [9.0]})) == []  # no validation set


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"val_detection_recall": [0.3, 0.004]}, "finds hardly any nucleus: detection recall 0.0040 .* after epoch 2"),
        ({"val_pairs": [80.0, 1.0], "val_f1_Neoplastic": [0.2, 1.0]}, "class scores are over 1 matched nuclei only"),
        ({"val_f1_Connective": [0.0, 0.0]}, "gives no class correctly but Neoplastic"),
        ({"val_f1_Connective": [0.0, 0.0], "val_f1_Neoplastic": [0.1, 0.0]}, "gives no class correctly on"),
        ({"train_loss": [9.0, 9.1]}, "training loss did not fall: 9.000 in the first epoch, 9.100"),
    ],
)
def test_each_sign_is_named(changed, sentence):
    import re

    found = problems(**changed)
    assert len(found) == 1 and re.search(sentence, found[0])


def test_epochs_without_validation_are_passed_over():
    nan = float("nan")
    late = {name: [*values, nan] for name, values in GOOD.items()} | {"epoch": [1.0, 2.0, 3.0]}
    late["train_loss"] = [9.0, 8.0, 7.0]
    assert learning_problems(pd.DataFrame(late)) == []

"""Who is learnt from and who is tested."""

import numpy as np
import pandas as pd
import pytest

from stnuclei.config.expression import ExpressionSettings
from stnuclei.errors import UserError
from stnuclei.expression.split import split_patches


def patches(donors, side=12, um=64.0, stride=64.0):
    """A square of patches for each sample; donors: sample -> donor."""
    y, x = np.divmod(np.arange(side * side), side)
    parts = []
    for sample, donor in donors.items():
        place = {"x": (x + 0.5) * stride, "y": (y + 0.5) * stride, "patch_um": um, "usable": True}
        parts.append(pd.DataFrame({"sample": sample, "donor": donor, **place}))
    return pd.concat(parts, ignore_index=True)


FOUR = {"a": "d1", "a2": "d1", "b": "d2", "c": "d3", "d": "d4"}


def test_donors_are_never_on_two_sides():
    for seed in range(20):
        table = patches(FOUR, side=3)
        part = split_patches(table, "multi_donor", ExpressionSettings(seed=seed, test_fraction=0.25))
        sides = table.assign(split=part).groupby("donor")["split"].unique()
        assert all(len(one) == 1 for one in sides)
        assert sorted(one[0] for one in sides) == ["test", "train", "train", "validation"]


def test_the_split_is_fixed_by_seed_and_follows_it():
    table = patches(FOUR, side=3)
    splits = [split_patches(table, "multi_donor", ExpressionSettings(seed=s)) for s in (1, 1, 2, 3, 4)]
    assert splits[0].equals(splits[1])
    assert not all(splits[0].equals(other) for other in splits[2:])


def test_named_donors_are_held_out_and_validation_falls_to_blocks_when_one_is_left():
    table = patches({"a": "d1", "b": "d2"})
    part = split_patches(table, "multi_donor", ExpressionSettings(), held_out=("d2",))
    assert set(part[table["donor"] == "d2"]) == {"test"}
    own = part[table["donor"] == "d1"]
    assert set(own) == {"train", "validation"} and 0.15 <= (own == "validation").mean() < 0.25


def test_one_donor_is_cut_into_blocks_of_tissue():
    table = patches({"a": "d1"})
    settings = ExpressionSettings(block_patches=3, test_fraction=0.25, validation_fraction=0.2)
    part = split_patches(table, "single_donor", settings)
    shares = part.value_counts(normalize=True)
    assert 0.25 <= shares["test"] < 0.32 and 0.2 <= shares["validation"] < 0.27
    blocks = part.groupby([table["x"] // 192, table["y"] // 192]).nunique()
    assert len(blocks) == 16 and (blocks == 1).all()


def test_no_pixel_of_a_held_out_patch_is_learnt_from():
    table = patches({"a": "d1"}, side=24, um=64.0, stride=32.0)
    part = split_patches(table, "single_donor", ExpressionSettings(block_patches=4))
    kept = table[part != ""]
    side = part[part != ""]
    for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        a, b = kept.loc[side == earlier, ["x", "y"]].to_numpy(), kept.loc[side == later, ["x", "y"]].to_numpy()
        assert np.abs(a[:, None] - b[None]).max(axis=2).min() >= 64
    assert (part == "").sum() > 0  # some had to go


def test_patches_without_counts_are_in_no_part():
    table = patches({"a": "d1", "b": "d2"})
    table.loc[::3, "usable"] = False
    part = split_patches(table, "multi_donor", ExpressionSettings())
    assert set(part[::3]) == {""} and "" not in set(part[table["usable"]])


@pytest.mark.parametrize(
    ("donors", "protocol", "held_out", "message"),
    [
        ({"a": "d1", "b": "d2"}, "single_donor", (), "single_donor needs samples of one donor, these are of d1, d2"),
        ({"a": "d1"}, "multi_donor", (), "multi_donor needs two donors or more, its samples are all of d1"),
        ({"a": "d1", "b": "d2"}, "multi_donor", ("d9",), "held_out: d9 is no donor of its samples"),
        ({"a": "d1", "b": "d2"}, "multi_donor", ("d1", "d2"), "holds out all donors"),
    ],
)
def test_protocols_that_do_not_go_with_the_donors_are_told(donors, protocol, held_out, message):
    with pytest.raises(UserError, match=message):
        split_patches(patches(donors), protocol, ExpressionSettings(), held_out=held_out, where="m")


def test_too_little_tissue_is_told():
    with pytest.raises(UserError, match="patches are left for"):
        split_patches(patches({"a": "d1"}, side=2), "single_donor", ExpressionSettings(block_patches=5))


def test_settings_that_no_run_can_use_are_told():
    for wrong, message in (
        ({"network": "vgg"}, "'vgg' is none of"),
        ({"fine_tuning": "head"}, "learns nothing from random weights"),
        ({"network": "vit-s16", "patch_px": 100}, "multiples of 16"),
        ({"epochs": 0}, "epochs: must be at least 1, not 0"),
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
    ):
        with pytest.raises(UserError, match=message):
            ExpressionSettings.from_dict(wrong)
    assert ExpressionSettings.from_dict({"learning_rate": "1e-3"}).learning_rate == 1e-3

"""Training: what is visible is learnt, what is not is not; runs repeat and continue."""

import signal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from expression.slides import visible_slide
from stnuclei.config import ExpressionSettings
from stnuclei.errors import UserError
from stnuclei.expression import PatchData, PatchSource, predict_expression, train_expression
from stnuclei.expression.loop import EpochLoss
from stnuclei.expression.scores import mean_over_slides
from stnuclei.expression.transforms import InputTransform
from stnuclei.patches import PatchBlock, PatchStore, write_patches
from stnuclei.training.failures import TrainingStopped

SMALL = {"network": "efficientnet-tiny", "batch_size": 16, "learning_rate": 3e-3, "threads": 1, "workers": 1, "seed": 3}


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return [visible_slide(folder, f"s{k}", f"d{k}", seed=k) for k in range(3)]


def scores(run, slides):
    split = pd.read_csv(run / "split.tsv", sep="\t")
    table = predict_expression(run / "checkpoint.pt", slides, split, threads=1)
    r = mean_over_slides(table.layers["measured"], table.X, table.obs["sample"].to_numpy())
    return pd.Series(r, index=table.var_names), table


def test_visible_genes_are_read_from_patches_and_random_ones_are_not(slides, tmp_path):
    settings = ExpressionSettings(**SMALL, epochs=8, patience=8)
    train_expression(slides, tmp_path / "result", settings, "multi_donor", held_out=["d2"])
    train_expression(slides, tmp_path / "null", settings, "multi_donor", held_out=["d2"], shuffle=1)
    r, table = scores(tmp_path / "result", slides)
    visible, at_random = r[[f"S{k}" for k in range(6)]], r[[f"R{k}" for k in range(6)]]
    assert set(table.obs["donor"]) == {"d2"} and table.n_obs == 144
    assert visible.min() > 0.5 and visible.mean() > 0.65
    assert at_random.abs().max() < 0.3 and abs(at_random.mean()) < 0.1
    assert r[r.index.str.endswith("|control")].abs().max() < 0.3
    null, _ = scores(tmp_path / "null", slides)
    null_visible = null[visible.index]
    # S0-S2 go up and S3-S5 down with what is visible, so a chance direction cancels in their mean
    assert abs(null_visible.mean()) < 0.2 and null_visible.mean() < visible.mean() - 0.4
    history = pd.read_csv(tmp_path / "result" / "history.csv")
    assert history["val_loss"].min() < 0.9 * history["val_loss"].iloc[0] and history["val_r"].max() > 0.2


def test_a_run_repeats_bit_by_bit_and_continues_where_it_was_stopped(slides, tmp_path):
    settings = ExpressionSettings(**SMALL, epochs=3)
    for name in ("once", "again"):
        train_expression(slides[:1], tmp_path / name, settings, "single_donor")
    one, two = (torch.load(tmp_path / name / "checkpoint.pt")["model_state_dict"] for name in ("once", "again"))
    assert all(torch.equal(one[key], two[key]) for key in one)

    calls = []

    def stop_after_first(*words, **more):
        if str(words[0]).startswith("epoch 1/"):
            calls.append(1)
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", stop_after_first)
        with pytest.raises(TrainingStopped, match="stopped by SIGTERM after epoch 1"):
            train_expression(slides[:1], tmp_path / "broken", settings, "single_donor")
    assert calls and not (tmp_path / "broken" / "checkpoint.pt").exists()
    train_expression(slides[:1], tmp_path / "broken", settings, "single_donor")
    three = torch.load(tmp_path / "broken" / "checkpoint.pt")["model_state_dict"]
    assert all(torch.equal(one[key], three[key]) for key in one)


def test_only_the_head_learns_where_the_rest_is_frozen(slides, tmp_path):
    from stnuclei.expression import build_network

    torch.manual_seed(0)
    torch.save(build_network("efficientnet-tiny", 10).state_dict(), tmp_path / "w.pth")
    settings = ExpressionSettings(**SMALL, epochs=1, weights=str(tmp_path / "w.pth"), fine_tuning="head")
    train_expression(slides[:1], tmp_path / "run", settings, "single_donor")
    given, got = torch.load(tmp_path / "w.pth"), torch.load(tmp_path / "run" / "checkpoint.pt")["model_state_dict"]
    rest = [name for name in given if not name.startswith("classifier")]
    assert all(torch.equal(given[name], got[name]) for name in rest)  # batch norm's running values too
    assert got["classifier.1.weight"].abs().sum() > 0


def test_training_stops_early_and_keeps_the_best_weights(slides, tmp_path):
    settings = ExpressionSettings(**{**SMALL, "learning_rate": 1e-9}, epochs=30, patience=2)
    train_expression(slides[:1], tmp_path, settings, "single_donor")
    history = pd.read_csv(tmp_path / "history.csv")
    best = torch.load(tmp_path / "checkpoint.pt")["epoch"]
    assert best == history["val_loss"].idxmin() + 1 and len(history) == best + 2 < 30


def test_pictures_are_turned_and_tinted_but_nothing_moves_or_blurs():
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(60, 200, (8, 3, 32, 32), dtype=np.uint8))
    plain = InputTransform(ExpressionSettings(**SMALL))
    same = plain(images)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (images / 255 - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    assert torch.allclose(same, expected, atol=1e-5)
    shown = plain(images, seed=4)
    assert torch.equal(shown, plain(images, seed=4)) and not torch.allclose(shown, plain(images, seed=5))
    gray = [one.mean(0) for one in (expected, shown)]
    for k in range(8):  # one of the eight flips and turns fits each picture, up to a mild tint
        turned = [torch.rot90(f, q, (1, 2)) for f in (expected[k], expected[k].flip(2)) for q in range(4)]
        fits = [torch.corrcoef(torch.stack([t.ravel(), shown[k].ravel()]))[0, 1].item() for t in turned]
        assert max(fits) > 0.97
    assert gray[0].shape == gray[1].shape
    assert InputTransform(ExpressionSettings(**SMALL, patch_px=48))(images).shape == (8, 3, 48, 48)


def test_tables_and_patches_that_do_not_belong_together_are_told(slides, tmp_path):
    with pytest.raises(UserError, match="is of 144 patches of s0, .* of 144 of s1"):
        PatchData.open([PatchSource(slides[1].patches, slides[0].expression)])
    with pytest.raises(UserError, match="gene NONE is not measured in s0"):
        PatchData.open(slides[:1], genes=["S0", "NONE"])
    (tmp_path / "c.pt").write_bytes(b"")
    with pytest.raises(UserError, match="expression checkpoint"):
        predict_expression(tmp_path / "c.pt", slides[:1], pd.DataFrame(columns=["sample", "patch", "split"]))


def test_other_pixels_are_other_data(tmp_path):
    slide = visible_slide(tmp_path, "s0", "d0", side=4)
    store, before = PatchStore(slide.patches), PatchData.open([slide]).fingerprint()
    block = PatchBlock(
        255 - store.image[:], store.instances[:], store.origin, store.tissue, np.diff(store.offset),
        store.cell_index, store.nucleus_index, store.centroid,
    )  # fmt: skip
    attrs = {key: value for key, value in store.attrs.items() if key not in ("format", "version", "counts", "patch_px")}
    write_patches(slide.patches, [block], attrs, size=store.patch_px)
    assert PatchData.open([slide]).fingerprint() != before


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_loss_that_is_not_finite_is_named_at_once_or_one_step_late(device):
    run = SimpleNamespace(
        device=torch.device(device),
        name_of=lambda number: f"a[{number}]",
        settings=SimpleNamespace(learning_rate=1e-4),
        state=SimpleNamespace(epoch=2),
    )
    losses = EpochLoss(run)
    losses.add(torch.tensor(2.0), torch.arange(4), 0)
    assert losses.mean() == (2.0 if device == "cpu" else 0.0)
    if device == "cuda":
        losses.add(torch.tensor(float("nan")), torch.arange(4, 6), 1)
    with pytest.raises(UserError, match=r"epoch 3, step 2.*a\[4\], a\[5\]"):
        losses.add(torch.tensor(float("nan")), torch.arange(4, 6), 1)

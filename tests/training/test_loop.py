"""Runs of the small network: resumed equals unbroken, same seed same weights, every ending told."""

import json
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from stnuclei.cellvit import build_model, load_checkpoint
from stnuclei.cli import main
from stnuclei.errors import UserError
from stnuclei.loading import Source
from stnuclei.loading.collection import Collection
from stnuclei.patches import PatchBlock, PatchStore, write_patches
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import loop, step, train
from stnuclei.training.diagnosis import learning_problems
from stnuclei.training.distributed import ProcessGroup
from stnuclei.training.failures import StopRequest, TrainingStopped
from stnuclei.training.launch import read_run
from stnuclei.training.run import build_optimizer, chunk_seed, prepare, set_trainable
from training.conftest import write_source

CLOCK = ["seconds", "patches_per_s"]


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """A picture an epoch is most of the time of such small runs; the unbroken run draws its own."""
    if "unbroken" not in request.fixturenames:
        monkeypatch.setattr(loop.history, "draw", lambda *arguments: None)


def weights(folder):
    return torch.load(folder / "last.pt", weights_only=True)["objects"]


def rows(folder):
    return pd.read_csv(folder / "history.csv").drop(columns=CLOCK)


def same(one, other):
    """True if two nested states hold the same bits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture(scope="module")
def unbroken(sources, tmp_path_factory):
    from stnuclei.config.training import TrainSettings

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("unbroken")
    settings = TrainSettings(
        architecture="cellvit-tiny", epochs=2, batch_size=8, learning_rate=1e-3, validation_patches=6, workers=1
    )
    settings = settings.replace(threads=1, device="cpu", tensorboard=False)
    train(sources, sources[1:], folder, settings, taxonomy="pannuke", provenance={"samples": ["a", "b"]})
    return folder


def interrupted_at(monkeypatch, *numbers, by=signal.SIGTERM):
    """Send this process a signal before its n-th steps, counted over all runs of the test."""
    count, real = [0], loop.take_step

    def take_step(*arguments):
        count[0] += 1
        if count[0] in numbers:
            if by is None:
                raise InterruptedError("power cut")
            os.kill(os.getpid(), by)
        real(*arguments)

    monkeypatch.setattr(loop, "take_step", take_step)


def test_files_of_a_run(unbroken):
    assert {path.name for path in unbroken.iterdir()} == {"checkpoint.pt", "last.pt", "history.csv", "curves.png"}
    history = pd.read_csv(unbroken / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert history["learning_rate"].tolist() == pytest.approx([1e-3, 0.95e-3])
    assert history["val_patches"].tolist() == [6, 12]  # a sample, then all
    assert history["train_loss"].iloc[1] < history["train_loss"].iloc[0]
    model, metadata = load_checkpoint(unbroken / "checkpoint.pt")
    assert metadata["tissues"] == ["Breast", "Colon"]
    assert metadata["provenance"]["samples"] == ["a", "b"] and "val_bpq" in metadata["provenance"]["scores"]
    # after eight steps nothing is learned, and the checkpoint says so
    assert metadata["provenance"]["warnings"] == learning_problems(history) != []
    assert same(dict(model.state_dict()), dict(weights(unbroken)["model"]))


@pytest.mark.parametrize("steps", [(3,), (4, 6)])  # in the middle; at the end of an epoch and again
def test_killed_and_resumed_equals_unbroken(unbroken, sources, settings, tmp_path, monkeypatch, steps):
    interrupted_at(monkeypatch, *steps)
    for _ in steps:
        with pytest.raises(TrainingStopped, match="SIGTERM.*Run the same command again"):
            train(sources, sources[1:], tmp_path, settings, taxonomy="pannuke")
        assert not (tmp_path / "checkpoint.pt").exists()
    train(sources, sources[1:], tmp_path, settings, taxonomy="pannuke", provenance={"samples": ["a", "b"]})
    assert same(weights(tmp_path), weights(unbroken))
    pd.testing.assert_frame_equal(rows(tmp_path), rows(unbroken), check_exact=True)


def test_power_cut_goes_on_from_the_last_epoch(unbroken, sources, settings, tmp_path, monkeypatch, capsys):
    interrupted_at(monkeypatch, 7, by=None)
    with pytest.raises(InterruptedError):
        train(sources, sources[1:], tmp_path, settings, taxonomy="pannuke")
    train(sources, sources[1:], tmp_path, settings, taxonomy="pannuke")
    assert "continued at epoch 2, step 1" in capsys.readouterr().out
    assert same(weights(tmp_path), weights(unbroken))


def test_another_seed_is_another_run(unbroken, sources, settings, tmp_path):
    train(sources, [], tmp_path, settings.replace(seed=20, epochs=1), taxonomy="pannuke")
    other = pd.read_csv(tmp_path / "history.csv")
    assert other["train_loss"].iloc[0] != rows(unbroken)["train_loss"].iloc[0]
    assert not [column for column in other if column.startswith("val_")]


def test_a_finished_run_can_be_made_longer(unbroken, sources, settings, tmp_path):
    train(sources, sources[1:], tmp_path, settings.replace(epochs=1), taxonomy="pannuke")
    train(sources, sources[1:], tmp_path, settings, taxonomy="pannuke")
    assert same(weights(tmp_path)["model"], weights(unbroken)["model"])


def test_accumulated_gradient_and_loss_are_the_mean_of_the_parts(sources, settings, tmp_path, monkeypatch):
    settings = settings.replace(accumulation=2, weight_decay=0.0)
    group = ProcessGroup(0, 1, torch.device("cpu"))
    run, _ = prepare(sources, [], tmp_path, settings, Taxonomy.load("pannuke"), group, StopRequest())
    run.loader.sampler = run.order()[:8]
    batches = list(run.loader)
    assert [len(batch["image"]) for batch in batches] == [4, 4]
    gradients, losses = [], []
    for part, batch in enumerate(batches):
        terms = step.learn_from(run, run.network, batch, chunk_seed(settings.seed, 0, 0, part))
        losses.append(terms["loss"].item())
        gradients.append([p.grad.clone() for p in run.network.parameters() if p.grad is not None])
        run.network.zero_grad()
    seen = []
    monkeypatch.setattr(
        run.scaler,
        "step",
        lambda optimizer: seen.extend(p.grad.clone() for p in run.network.parameters() if p.grad is not None),
    )
    step.take_step(run, run.network, batches)
    # `learn_from` has divided by the number of parts: the batch's gradient is the sum of what it left.
    for whole, *parts in zip(seen, *gradients, strict=True):
        assert torch.allclose(whole, sum(parts), rtol=1e-4, atol=1e-7)
    assert run.state.sums["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_slow_disks_change_the_order_only(sources, settings, tmp_path):
    taxonomy, group, stop = Taxonomy.load("pannuke"), ProcessGroup(0, 1, torch.device("cpu")), StopRequest()
    runs = [
        prepare(sources, [], tmp_path / str(slow), settings.replace(slow_disk=slow), taxonomy, group, stop)[0]
        for slow in (False, True)
    ]
    orders = [run.order() for run in runs]
    assert sorted(orders[0]) == sorted(orders[1]) and not np.array_equal(*orders)
    runs[1].state.step = 3
    assert np.array_equal(runs[1].order(), orders[1][3 * 8 :])
    train(sources, [], tmp_path / "whole", settings.replace(slow_disk=True, epochs=1), taxonomy="pannuke")


def test_loss_that_is_no_number_names_the_patches(sources, settings, tmp_path, monkeypatch):
    terms = step.cellvit_losses
    monkeypatch.setattr(
        step,
        "cellvit_losses",
        lambda *a, **k: {n: v * float("nan") if n == "hv_mse" else v for n, v in terms(*a, **k).items()},
    )
    with pytest.raises(UserError, match=r"loss \(loss, hv_mse.*epoch 1, step 1.*\.zarr\[\d+\], ") as told:
        train(sources, [], tmp_path, settings, taxonomy="pannuke")
    assert str(told.value).count(".zarr[") == settings.batch_size


def test_encoder_stands_still_only_where_its_weights_were_loaded(settings):
    network = build_model("cellvit-tiny", 6, 2)
    frozen = settings.replace(encoder_weights="hipt.pth", freeze_epochs=25)

    def still():
        return {name.split(".")[0] for name, p in network.named_parameters() if not p.requires_grad}

    set_trainable(network, frozen, 24)
    assert still() == {"encoder"}
    assert all(p.requires_grad for name, p in network.named_parameters() if name.startswith("encoder.head."))
    set_trainable(network, frozen, 25)
    assert not still()
    set_trainable(network, settings, 0)
    assert not still()


def test_frozen_weights_do_not_decay(settings):
    network = build_model("cellvit-tiny", 6, 2)
    frozen = settings.replace(encoder_weights="hipt.pth", weight_decay=0.5)
    set_trainable(network, frozen, 0)
    optimizer = build_optimizer(network, frozen, torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    outputs = network(torch.randn(2, 3, 32, 32))
    sum(value.square().mean() for value in outputs.values()).backward()
    optimizer.step()
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert "encoder.pos_embed" not in moved and "decoder0.0.block.0.weight" in moved


def test_unknown_loss_term_is_refused(sources, settings, tmp_path):
    with pytest.raises(UserError, match="np_dce.*known"):
        train(sources, [], tmp_path, settings.replace(loss_weights={"np_dce": 1.0}), taxonomy="pannuke")


def test_sources_without_labels_or_patches(sources, settings, tmp_path):
    train([Source(sources[0].patches)], [], tmp_path, settings.replace(epochs=1), taxonomy="pannuke")
    assert np.isfinite(rows(tmp_path)["train_loss"]).all()
    with pytest.raises(UserError, match="no source"):
        train([], [], tmp_path, settings, taxonomy="pannuke")


def test_command_reads_a_file_and_tells_mistakes(sources, settings, tmp_path, capsys):
    entry = {"patches": str(sources[0].patches), "labels": str(sources[0].labels)}
    content = {"sources": [entry], "out_dir": str(tmp_path / "out"), "settings": settings.to_dict()}
    run = tmp_path / "run.json"
    run.write_text(json.dumps(content))
    assert read_run(run)["settings"] == settings
    run.write_text(json.dumps({**content, "setings": {}}))
    assert main(["train", str(run)]) == 1
    assert "unknown setings" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none.json")]) == 1


def test_other_pixels_or_labels_are_another_run(tmp_path, settings, capsys):
    source = write_source(tmp_path, "a", 16, "Breast", 0)
    settings = settings.replace(epochs=1, augmentation="none")
    out = tmp_path / "out"
    train([source], [], out, settings, taxonomy="pannuke")
    before = torch.load(out / "checkpoint.pt", weights_only=True)["model_state_dict"]
    store = PatchStore(source.patches)
    inverted = PatchBlock(
        255 - store.image[:], store.instances[:], store.origin, store.tissue, np.diff(store.offset),
        store.cell_index, store.nucleus_index, store.centroid,
    )  # fmt: skip
    attrs = {key: store.attrs[key] for key in ("sample", "tissues", "um_per_px", "settings")}
    write_patches(source.patches, [inverted], attrs, size=32)
    train([source], [], out, settings, taxonomy="pannuke")
    assert "other data" in capsys.readouterr().out
    after = torch.load(out / "checkpoint.pt", weights_only=True)["model_state_dict"]
    assert not all(torch.equal(before[key], after[key]) for key in before)
    # Labels exchanged between two nuclei of one patch: the same classes are in the patch, the same number of each.
    data = Collection.open([source], Taxonomy.load("pannuke"))
    labels = pd.read_parquet(source.labels)
    first = next(i for i in range(len(store)) if len(set(labels["label"][store.offset[i] : store.offset[i + 1]])) > 1)
    rows = slice(store.offset[first], store.offset[first + 1])
    labels.loc[labels.index[rows], "label"] = labels["label"][rows].to_numpy()[::-1]
    labels.to_parquet(source.labels)
    changed = Collection.open([source], Taxonomy.load("pannuke"))
    assert np.array_equal(changed.presence, data.presence) and changed.fingerprint() != data.fingerprint()


def test_killed_after_the_last_state_it_writes_all_that_is_missing(unbroken, sources, tmp_path, settings):
    out = tmp_path / "out"
    shutil.copytree(unbroken, out)
    made = ("history.csv", "curves.png", "checkpoint.pt")
    for name in made:
        (out / name).unlink()
    train(sources, sources[1:], out, settings, taxonomy="pannuke", provenance={"samples": ["a", "b"]})
    assert all((out / name).is_file() for name in made)
    assert (out / "history.csv").read_bytes() == (unbroken / "history.csv").read_bytes()


def scored(monkeypatch, *scores):
    """Let the epochs have these bPQ, and the choice at the end 0.9."""
    left = list(scores)
    monkeypatch.setattr(loop, "validate", lambda run, limit, between: {"bpq": left.pop(0) if limit else 0.9})


def test_the_best_epoch_is_kept_also_by_a_continued_run(sources, settings, tmp_path, monkeypatch, capsys):
    settings = settings.replace(epochs=3, keep="best", samples_per_epoch=8)
    scored(monkeypatch, 0.1, 0.5, 0.2)
    train(sources[:1], sources[1:], tmp_path / "whole", settings, taxonomy="pannuke")
    model, metadata = load_checkpoint(tmp_path / "whole" / "checkpoint.pt")
    assert metadata["epoch"] == 2 and metadata["provenance"]["scores"] == {"val_bpq": 0.9}
    assert "has the weights of epoch 2 of 3, by bpq" in capsys.readouterr().out
    scored(monkeypatch, 0.1, 0.5)
    train(sources[:1], sources[1:], tmp_path / "two", settings.replace(epochs=2), taxonomy="pannuke")
    scored(monkeypatch, 0.2)
    train(sources[:1], sources[1:], tmp_path / "two", settings, taxonomy="pannuke")
    assert "continued at epoch 3" in capsys.readouterr().out
    again, _ = load_checkpoint(tmp_path / "two" / "checkpoint.pt")
    last = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)["objects"]
    assert same(dict(model.state_dict()), dict(again.state_dict())) and same(
        last["best"]["weights"], dict(model.state_dict())
    )
    assert not same(last["model"], dict(model.state_dict()))


def test_a_run_without_a_better_epoch_ends_early(sources, settings, tmp_path, monkeypatch):
    scored(monkeypatch, 0.1, 0.5, 0.2, 0.3, 0.9)
    settings = settings.replace(epochs=9, patience=2, samples_per_epoch=8)
    train(sources[:1], sources[1:], tmp_path, settings, taxonomy="pannuke")
    assert len(rows(tmp_path)) == 4 and load_checkpoint(tmp_path / "checkpoint.pt")[1]["epoch"] == 4


@pytest.mark.parametrize("change", [{"keep": "best"}, {"patience": 3}])
def test_nothing_to_choose_by(sources, settings, tmp_path, change):
    with pytest.raises(UserError, match="and nothing is validated; name the model's `validation`"):
        train(sources[:1], [], tmp_path, settings.replace(**change), taxonomy="pannuke")

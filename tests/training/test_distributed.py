"""Two processes of batch n do what one of 2n does."""

import json

import pandas as pd
import pytest
import torch

from stnuclei.errors import UserError
from stnuclei.training import train
from stnuclei.training.distributed import ProcessGroup, SharedBatchNorm, process_group
from two_runs import WORKER, run_two


def test_gradients_of_two_at_n_are_those_of_one_at_2n(tmp_path):
    run_two(WORKER, "gradients", tmp_path)
    result = torch.load(tmp_path / "gradients.pt")
    assert result["largest"] > 1e-3  # there is something to compare
    for name, difference in result["difference"].items():
        assert difference < 1e-10 * result["largest"], name
    assert result["buffers"] < 1e-6
    assert result["headless"] == {"cellvit-tiny": True, "cellvit-sam-b": True}


def test_counts_and_flags_are_agreed_on():
    assert run_two(WORKER, "agree") == ["[3.0, 30.0] [True, False]\n"] * 2


def test_two_processes_train_what_one_does_in_two_parts(sources, settings, tmp_path):
    """Order, dropout, augmentation, gradients, steps: the whole run, not only one step of it."""
    entries = [{"patches": str(source.patches), "labels": str(source.labels)} for source in sources]
    content = {"sources": entries, "out_dir": str(tmp_path / "two")}
    settings = settings.replace(epochs=1, samples_per_epoch=24, validation_patches=2)
    run = tmp_path / "run.json"
    run.write_text(json.dumps({**content, "settings": settings.to_dict()}))
    said = run_two("-m", "stnuclei", "train", run)
    assert "2 process(es) x 1 part(s) of 4" in said[0] and said[1] == ""
    train(sources, [], tmp_path / "one", settings.replace(accumulation=2), taxonomy="pannuke")
    one, two = (torch.load(tmp_path / name / "last.pt")["objects"]["model"] for name in ("one", "two"))
    for name, value in one.items():
        if "running" not in name and "tracked" not in name:  # two processes count a step once
            assert torch.allclose(value, two[name], atol=2e-4), name
    rows = [pd.read_csv(tmp_path / name / "history.csv") for name in ("one", "two")]
    assert rows[0]["train_loss"].tolist() == pytest.approx(rows[1]["train_loss"].tolist(), rel=1e-3)


def test_shared_batchnorm_alone_is_batchnorm():
    torch.manual_seed(0)
    x = torch.randn(6, 5, 7, 7) * 3 + 1
    plain = torch.nn.BatchNorm2d(5)
    torch.nn.init.normal_(plain.weight)
    shared = SharedBatchNorm.convert(torch.nn.Sequential(plain))[0]
    assert isinstance(shared, SharedBatchNorm)
    grads = []
    for layer in (plain, shared):
        y = layer(x)
        grads.append(torch.autograd.grad(y.square().mul(torch.arange(7.0)).sum(), layer.weight)[0])
        layer.eval()
    assert torch.allclose(grads[0], grads[1], rtol=1e-4)
    assert torch.allclose(plain(x), shared(x), atol=1e-5)
    assert int(shared.num_batches_tracked) == 1


def test_one_process_needs_no_agreement():
    with process_group("cpu") as group:
        assert group.is_main and group.size == 1
        assert group.sum([1.5, 2.0]).tolist() == [1.5, 2.0]
        assert group.any(False, True) == [False, True]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_gpu_asked_for_where_there_is_none():
    with pytest.raises(UserError, match="torch sees no GPU"), process_group("cuda"):
        pass


def test_frozen_model_needs_no_wrapping():
    model = torch.nn.Linear(2, 2).requires_grad_(False)
    assert ProcessGroup(0, 2, torch.device("cpu")).wrap(model) is model

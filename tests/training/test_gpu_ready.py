"""Training on GPUs, as far as it can be tried without one: processes, memory, steps the host does not wait for."""

import subprocess
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from stnuclei.cellvit import build_model
from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.errors import UserError
from stnuclei.loading.batches import batch_targets
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import distributed, launch, memory, train
from stnuclei.training import step as steps
from stnuclei.training.distributed import ProcessGroup, local_device, process_group
from stnuclei.training.failures import StopRequest, TrainingStopped
from stnuclei.training.loop import train_epoch
from stnuclei.training.run import TrainingRun, prepare
from two_runs import WORKER, run_two


def prepared(sources, folder, settings):
    group = ProcessGroup(0, 1, torch.device("cpu"))
    return prepare(sources, [], folder, settings, Taxonomy.load("pannuke"), group, StopRequest())[0]


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: torch.cuda._utils._get_device_index(device))


def test_each_process_has_the_gpu_of_its_rank(two_gpus):
    assert [local_device("auto", rank) for rank in (0, 1)] == [torch.device("cuda:0"), torch.device("cuda:1")]
    assert local_device("cpu", 1).type == "cpu"
    assert local_device("cuda:0", 1, shared=True) == torch.device("cuda:0")
    with pytest.raises(UserError, match="process 2 of this machine has no GPU"):
        local_device("cuda", 2)
    with pytest.raises(UserError, match="cuda:1 would put all processes on one GPU"):
        local_device("cuda:1", 0)


def test_a_task_of_srun_takes_the_gpu_it_sees(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("SLURM_GPUS_PER_TASK", "1")
    assert local_device("auto", 3) == torch.device("cuda:0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # torchrun inside the task: one GPU for all its processes
    with pytest.raises(UserError, match="process 3"):
        local_device("auto", 3)


@pytest.mark.parametrize(
    ("error", "destroyed"), [(None, 1), (TrainingStopped("saved"), 1), (UserError("out of memory"), 0)]
)
def test_a_failing_process_leaves_the_group_standing(monkeypatch, error, destroyed):
    calls = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("init_process_group", "new_group"):
        monkeypatch.setattr(dist, name, lambda *a, **k: calls.append((*a, *k.values())))
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    ended = []
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: ended.append(1))
    with pytest.raises(type(error)) if error else nullcontext(), process_group("cpu"):
        if error:
            raise error
    assert len(ended) == destroyed
    assert calls == [("gloo",), ("gloo",)]  # gradients on a CPU, and decisions on any device


def test_processes_with_different_states_refuse_to_start(tmp_path):
    first, second = run_two(WORKER, "state", tmp_path)
    assert first == second
    assert "process 0: epoch 4, step 1, process 1: epoch 1, step 1" in first
    assert "a disk that all machines share" in first


def test_an_option_torchrun_does_not_know_is_left_out(monkeypatch, tmp_path):
    class Started:
        pid = 1

        def __init__(self, command, **_):
            commands.append(command)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def wait(self):
            return 0

    commands = []
    monkeypatch.setattr(subprocess, "Popen", Started)
    assert not launch._knows("--no-such-option")
    for known in (True, False):
        monkeypatch.setattr(launch, "_knows", lambda option, known=known: known)
        launch.launch(tmp_path / "run.json", processes=2)
    assert ["--shutdown-timeout=300" in command for command in commands] == [True, False]


def test_steps_checked_late_are_the_same_steps(sources, settings, tmp_path, monkeypatch):
    settings = settings.replace(epochs=1)
    train(sources, [], tmp_path / "now", settings, taxonomy="pannuke")
    monkeypatch.setattr(TrainingRun, "checks_late", property(lambda run: True))
    train(sources, [], tmp_path / "late", settings, taxonomy="pannuke")
    weights = [torch.load(tmp_path / name / "last.pt")["objects"]["model"] for name in ("now", "late")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    rows = [pd.read_csv(tmp_path / name / "history.csv") for name in ("now", "late")]
    assert rows[0]["train_loss"].tolist() == rows[1]["train_loss"].tolist()


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_named_one_step_late(
    sources, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(TrainingRun, "checks_late", property(lambda run: True))
    run = prepared(sources, tmp_path, settings)
    names, norms, weights = [], [], []
    real = steps.gradient_norm

    def second_is_nan(network, largest):
        norms.append(real(network, largest))
        weights.append({name: p.detach().clone() for name, p in network.named_parameters()})
        if len(norms) == 2:
            for p in network.parameters():
                if p.grad is not None:
                    p.grad.fill_(float("nan"))
            return real(network, largest)
        return norms[-1]

    monkeypatch.setattr(steps, "gradient_norm", second_is_nan)
    order = run.order()
    names = [run.data.name_of(int(i)) for i in order[8:16]]
    with pytest.raises(UserError, match="gradient is not finite in epoch 1, step 2") as error:
        train_epoch(run)
    assert len(norms) == 3  # the third step was queued before the second was looked at
    assert all(name in str(error.value) for name in names)
    assert all(torch.equal(value, weights[2][name]) for name, value in weights[1].items())
    assert not torch.equal(weights[0]["encoder.pos_embed"], weights[1]["encoder.pos_embed"])


@pytest.fixture
def short_memory(monkeypatch):
    """A GPU that holds two patches with the encoder learning and any number with it frozen."""
    tried = []

    def learn_from(run, model, batch, seed, together=True):
        learning = all(p.requires_grad for p in run.network.encoder_parameters())
        tried.append((len(batch["image"]), learning))
        next(iter(run.network.buffers())).add_(1)
        if learning and len(batch["image"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "learn_from", learn_from)
    monkeypatch.setattr(memory, "on_device", lambda loader, device: iter(loader))
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    return tried


def test_parts_are_halved_before_the_first_epoch_until_a_thawed_step_fits(
    sources, settings, tmp_path, short_memory, capsys
):
    run = prepared(sources, tmp_path, settings)
    run.settings = settings.replace(encoder_weights="hipt.pth", freeze_epochs=25)
    for parameter in run.network.encoder_parameters():
        parameter.requires_grad_(False)
    run.group = replace(run.group, device=torch.device("cuda:0"))
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    memory.fit_batch(run)
    assert short_memory == [(8, True), (4, True), (2, True)]
    assert run.settings.accumulation == 4 and run.loader.batch_size == 2 and run.settings.batch_size == 8
    assert "does not hold 8 patches at a time with the encoder learning; 2 at a time" in capsys.readouterr().out
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())
    assert not any(p.requires_grad for p in run.network.encoder_parameters())


def test_not_even_one_patch_fits(sources, settings, tmp_path, monkeypatch, short_memory):
    def never(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "learn_from", never)
    run = prepared(sources, tmp_path, settings)
    run.group = replace(run.group, device=torch.device("cuda:0"))
    with pytest.raises(UserError, match="memory does not hold 8 patches at a time.*set training.accumulation"):
        memory.fit_batch(run)


def test_a_trial_on_the_real_network_leaves_it_as_it_was(sources, settings, tmp_path):
    run = prepared(sources, tmp_path, settings)
    run.loader.sampler = run.order()[:8]
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    assert memory.trial_step(run, next(iter(run.loader)))
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())
    assert all(p.grad is None for p in run.network.parameters()) and not run.optimizer.state


def test_targets_and_losses_do_not_wait_for_a_device(monkeypatch):
    """On tensors without content: reading a number back, or sending one, would show."""
    waits = []
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta device

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            sent = [a for a in arguments if isinstance(a, torch.Tensor) and a.device.type == "cpu"]
            if sent or "_local_scalar_dense" in str(function):
                waits.append(str(function))
            return function(*arguments, **(options or {}))

    with torch.device("meta"):
        batch = {
            "classes": torch.empty(4, 9, dtype=torch.int8),
            "allowed": torch.empty(4, 9, dtype=torch.int32),
            "tissue": torch.empty(4, dtype=torch.int64),
        }
        instances = torch.empty(4, 32, 32, dtype=torch.int32)
        network = build_model("cellvit-tiny", 6, 2)
        outputs = network(torch.empty(4, 3, 32, 32))
    with Seen():
        terms = cellvit_losses(outputs, batch_targets(batch, instances))
        total_loss(terms).backward()
    assert not waits
    assert all(p.grad is not None for p in network.parameters())

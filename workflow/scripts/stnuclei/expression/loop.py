"""The training loop of the single-patch baseline.

From Python, on the GPU or CPU there is::

    from stnuclei.config import ExpressionSettings
from stnuclei.expression import PatchSource, train_expression
    slides = [PatchSource(f"results/samples/{s}/patches.zarr", f"results/samples/{s}/expression.h5ad") for s in names]
    train_expression(slides, "out", ExpressionSettings(weights="efficientnet_b0_rwightman-7f5810bc.pth"), "multi_donor")

EfficientNet-B0 as the paper's best, fine-tuned from ImageNet: the defaults, with ``weights``. On two CPU cores:
``network="efficientnet-tiny", patch_px=128, learning_rate=3e-3``. Only the head: ``fine_tuning="head"``. The null:
``shuffle=1``. The same call again continues a run that was stopped.

Loss: mean squared error of log(1 + x). The head begins at the genes' means, so that the network has only to learn what
differs from patch to patch.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from stnuclei.cellvit.device import HostCopy
from stnuclei.config.expression import ExpressionSettings
from stnuclei.expression.data import PatchSource
from stnuclei.expression.predict import predict
from stnuclei.expression.run import ExpressionRun, prepare, write_checkpoint
from stnuclei.expression.scores import pearson_by_gene
from stnuclei.files import locked
from stnuclei.loading.batches import on_device
from stnuclei.progress import Progress
from stnuclei.training import failures, history, resume
from stnuclei.training.resume import TrainingState
from stnuclei.training.run import chunk_seed


def train_expression(
    sources: Sequence[PatchSource],
    out_dir: str | Path,
    settings: ExpressionSettings,
    protocol: str,
    *,
    held_out: Sequence[str] = (),
    shuffle: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train one network, or continue where an earlier call in the same folder stopped.

    Parameters
    ----------
    sources
        Slides of the protocol, the tested ones among them (their patches are never learnt from).
    out_dir
        Gets ``checkpoint.pt``, ``history.csv``, ``split.tsv`` and ``last.pt`` (state to continue from).
    settings
        The recipe.
    protocol, held_out
        See `stnuclei.expression.split.split_patches`.
    shuffle
        Number of a null, from 1: deal the training patches' expression (and the validation's) to one another and train
        to the last epoch. What such a network predicts shows what r is where there was nothing to learn.
    provenance
        Written into the checkpoint; its ``model``, where given, names the run in messages.

    Raises
    ------
    UserError
        If sources cannot be used, or a loss is not finite.
    TrainingStopped
        After SIGTERM, SIGUSR1 or Ctrl-C, with the state saved (exit code 75).
    """
    provenance = provenance or {}
    name = f"expression.models.{provenance['model']}" if "model" in provenance else "expression"
    with failures.stop_requests() as stop, locked(out_dir):
        run = prepare(sources, Path(out_dir), settings, protocol, tuple(held_out), shuffle, name)
        while not run.finished:
            started = time.monotonic()
            loss = train_epoch(run)
            finish_epoch(run, loss, time.monotonic() - started)
            if stop:
                message = f"{name}: stopped by {stop.signal} after epoch {run.state.epoch}; the state is saved"
                raise failures.TrainingStopped(f"{message}, run the same command again to continue")
        # Again, for a run that was killed after its last state was saved.
        history.write_csv(run.folder, run.state.history)
        run.network.load_state_dict(run.best.weights)
        write_checkpoint(run, provenance)


def train_epoch(run: ExpressionRun) -> float:
    """Go once through the training patches; the mean loss."""
    settings, network = run.settings, run.network
    epoch = run.state.epoch
    order = np.random.default_rng([settings.seed, epoch]).permutation(run.numbers["train"])
    # A last batch of one patch has no variance for batch norm.
    order = order[: len(order) - 1] if len(order) % settings.batch_size == 1 and len(order) > 1 else order
    run.set_training()
    bar = Progress(len(order), f"epoch {epoch + 1}/{settings.epochs}", "patches")
    losses, done = EpochLoss(run), 0
    for step, batch in enumerate(on_device(run.data.loader(order, settings.batch_size, settings.readers), run.device)):
        seed = chunk_seed(settings.seed, epoch, step, 0)
        torch.manual_seed(seed)  # dropout and stochastic depth: the same in a continued run
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(settings, epoch + done / len(order))
        pictures = run.transform(batch["image"], seed=seed)
        targets = sent(run.data.targets(run.row_of[batch["index"]]), run.device)
        with torch.autocast(run.device.type, run.precision, enabled=run.precision != torch.float32):
            predicted = network(pictures)
        loss = F.mse_loss(predicted.float(), targets)
        losses.add(loss, batch["index"], step)
        run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(loss).backward()
        run.scaler.step(run.optimizer)
        run.scaler.update()
        done += len(targets)
        bar.update(len(targets), note=f"loss {losses.mean():.4f}")
    bar.close()
    losses.settle(waiting=0)
    return losses.mean()


class EpochLoss:
    """Mean loss of an epoch; on a GPU the loss of a step is looked at when the next one is queued.

    The GPU then never waits for the host. A loss that is not finite still ends the run before its epoch is saved.
    """

    def __init__(self, run: ExpressionRun) -> None:
        self.run, self.total, self.patches = run, 0.0, 0
        self._coming: deque[tuple[HostCopy, torch.Tensor, int]] = deque()

    def add(self, loss: torch.Tensor, index: torch.Tensor, step: int) -> None:
        """Take the loss of a step and the numbers of its patches.

        Raises
        ------
        UserError
            If the loss of this step (on a CPU) or of the one before is not finite.
        """
        self._coming.append((HostCopy(loss.detach()), index, step))
        self.settle(waiting=0 if self.run.device.type == "cpu" else 1)

    def settle(self, waiting: int) -> None:
        """Add the losses of all steps but the last `waiting`."""
        while len(self._coming) > waiting:
            copy, index, step = self._coming.popleft()
            loss = copy.get().item()
            if not math.isfinite(loss):
                names = [self.run.name_of(int(i)) for i in index]
                rate = self.run.settings.learning_rate
                raise failures.not_finite("loss", self.run.state.epoch + 1, step + 1, names, rate)
            self.total, self.patches = self.total + loss * len(index), self.patches + len(index)

    def mean(self) -> float:
        """Mean over the patches so far."""
        return self.total / max(self.patches, 1)


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on the device, from pinned memory where that is a GPU: the copy is then not waited for."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def learning_rate(settings: ExpressionSettings, epoch: float) -> float:
    """Half a cosine from the set rate to a hundredth of it, after one epoch of rising from zero."""
    fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(epoch / settings.epochs, 1)))
    return settings.learning_rate * fall * min(1.0, epoch + 0.05)


def finish_epoch(run: ExpressionRun, loss: float, seconds: float) -> None:
    """Look at the validation patches, keep the best weights, save the state."""
    settings, numbers = run.settings, run.numbers["validation"]
    batches = on_device(run.data.loader(numbers, 2 * settings.batch_size, settings.readers), run.device)
    predicted = predict(run.network, run.transform, batches, run.precision)
    measured = run.data.targets(run.row_of[numbers]).numpy()
    r = pearson_by_gene(measured, predicted)
    row = {
        "epoch": float(run.state.epoch + 1),
        "learning_rate": learning_rate(settings, run.state.epoch),
        "train_loss": loss,
        "val_loss": float(np.mean((predicted - measured) ** 2)),
        "val_r": 0.0 if np.isnan(r).all() else float(np.nanmean(r)),
        "seconds": seconds,
        "patches_per_s": len(run.numbers["train"]) / max(seconds, 1e-9),
    }
    run.best.offer(run.network, row, run.state.epoch)
    run.state = TrainingState(epoch=run.state.epoch + 1, history=[*run.state.history, row])
    resume.save(run.folder, run.state, run.stateful, run.identity)
    history.write_csv(run.folder, run.state.history)
    print(
        f"epoch {row['epoch']:.0f}/{settings.epochs}: train loss {loss:.4f}, val loss {row['val_loss']:.4f}, val r "
        f"{row['val_r']:.3f}, {row['patches_per_s']:.1f} patches/s, best epoch {run.best.epoch + 1}",
        flush=True,
    )

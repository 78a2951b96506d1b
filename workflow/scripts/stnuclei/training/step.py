"""One step of the optimiser: augmentation, targets, forward, losses, backward, update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stnuclei.augmentation.shape import random_crop
from stnuclei.cellvit.device import HostCopy
from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.config.training import TrainSettings
from stnuclei.loading.batches import batch_targets
from stnuclei.training.distributed import sum_over_processes, without_sync
from stnuclei.training.failures import not_finite
from stnuclei.training.run import TrainingRun, chunk_seed

Batch = Mapping[str, torch.Tensor]


def take_step(run: TrainingRun, model: nn.Module, batches: list[Batch]) -> None:
    """Forward and backward for each part of the batch, then the update.

    Parameters
    ----------
    run
        Its state goes one step further.
    model
        The network as the processes share it (`stnuclei.training.distributed.ProcessGroup.wrap`).
    batches
        `accumulation` parts, in order.
    """
    settings, state = run.settings, run.state
    rate = learning_rate(settings, state.epoch, state.step, run.sampler.steps)
    for parameters in run.optimizer.param_groups:
        parameters["lr"] = rate
    sums: dict[str, torch.Tensor] = {}
    for index, batch in enumerate(batches):
        # Seeded by the part's number among all parts of all processes: two processes draw what one process with
        # twice the accumulation draws, and a continued run draws what the unbroken one did.
        seed = chunk_seed(settings.seed, state.epoch, state.step, run.group.rank * settings.accumulation + index)
        with nullcontext() if index + 1 == len(batches) else without_sync(model):
            terms = learn_from(run, model, batch, seed)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach().double() / len(batches)
    run.scaler.unscale_(run.optimizer)
    sums["gradient_norm"] = gradient_norm(run.network, settings.gradient_clip).double()
    record = StepRecord.of(run, sums, batches, rate)
    if run.checks_late:
        # The device passes over the step by itself where the gradient is not finite; the host looks at the numbers
        # when the next step is queued, so that the device never waits for it.
        optimizer: Any = run.optimizer  # fused optimisers read this attribute, which torch's types do not name
        optimizer.found_inf = (~torch.isfinite(sums["gradient_norm"])).float().reshape(())
        settle(run)
        run.pending = record
    else:
        record.settle(run)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    run.group.average_buffers(run.network)
    state.step += 1


@dataclass
class StepRecord:
    """Numbers of a step on their way to the host, and what a message needs of its batch.

    Parameters
    ----------
    names, values
        Loss terms and gradient norm, float64 (n,).
    indices
        Patch numbers of the batch, int64 on the CPU.
    epoch, step
        From 0.
    rate
        Learning rate.
    """

    names: list[str]
    values: HostCopy
    indices: list[torch.Tensor]
    epoch: int
    step: int
    rate: float

    @classmethod
    def of(cls, run: TrainingRun, sums: Mapping[str, torch.Tensor], batches: list[Batch], rate: float) -> StepRecord:
        """Start the copy of a step's numbers."""
        values = HostCopy(torch.stack(list(sums.values())).detach())
        indices = [batch["index"] for batch in batches]
        return cls(list(sums), values, indices, run.state.epoch, run.state.step, rate)

    def settle(self, run: TrainingRun) -> None:
        """Check the numbers and add them to the epoch's sums.

        Raises
        ------
        UserError
            If a loss term or the gradient is not finite, naming the patches. The numbers are means over all processes,
            so that all stop together. With fp16 a gradient that is not finite is usual: the scaler skips the step and
            lowers its scale.
        """
        means = dict(zip(self.names, (run.group.sum(self.values.get()) / run.group.size).tolist(), strict=True))
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad and not (bad == ["gradient_norm"] and run.scaler.is_enabled()):
            wrong = "gradient" if bad == ["gradient_norm"] else f"loss ({', '.join(bad)})"
            patches = [run.data.name_of(int(i)) for indices in self.indices for i in indices]
            raise not_finite(wrong, self.epoch + 1, self.step + 1, patches, self.rate)
        for name, value in means.items():
            run.state.sums[name] = run.state.sums.get(name, 0.0) + value


def settle(run: TrainingRun) -> None:
    """Settle the step whose numbers are still on their way, if there is one."""
    if run.pending is not None:
        record, run.pending = run.pending, None
        record.settle(run)


def learn_from(
    run: TrainingRun, model: nn.Module, batch: Batch, seed: int, together: bool = True
) -> dict[str, torch.Tensor]:
    """Augment, targets, forward, losses, backward for one part of a batch; returns the loss terms and ``loss``.

    `together`: exchange the sums inside the losses with the other processes where the settings say so.
    """
    settings, device = run.settings, run.group.device
    torch.manual_seed(seed)
    images, instances = batch["image"], batch["instances"]
    if settings.crop_px:
        images, instances = random_crop(images, instances, settings.crop_px, seed)
    images, instances = run.augment(images, instances, seed=seed)
    targets = batch_targets(batch, instances, weighted=settings.label_weight == "confidence")
    if settings.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, run.precision, enabled=run.precision != torch.float32):
        outputs = model(images)
        taught: dict[str, torch.Tensor] = {}
        if run.teacher is not None:
            taught = run.teacher.losses(outputs, images, run.network.settings.architecture)
    reduce = sum_over_processes if settings.sync_losses and together else None
    terms = cellvit_losses(outputs, targets, variant=settings.loss_variant, reduce=reduce)
    loss = total_loss(terms, settings.loss_weights)
    if taught:
        loss = settings.label_loss * loss + settings.teacher_loss * torch.stack(list(taught.values())).sum()
        terms = {**terms, **taught}
    run.scaler.scale(loss / settings.accumulation).backward()
    return {"loss": loss, **terms}


def learning_rate(settings: TrainSettings, epoch: int, step: int, steps: int) -> float:
    """Learning rate of an optimiser step.

    Parameters
    ----------
    settings
        `learning_rate`, `schedule`, `gamma`, `warmup_steps`, `epochs`.
    epoch, step
        Counted from 0; `step` inside the epoch.
    steps
        Steps of an epoch.

    Notes
    -----
    ``exponential`` is lr gamma^epoch, constant inside an epoch as the official runs had it; ``cosine`` falls from lr
    to lr / 100 step by step over the whole run.
    """
    done = epoch * steps + step
    rate = settings.learning_rate
    if settings.schedule == "exponential":
        rate *= settings.gamma**epoch
    elif settings.schedule == "cosine":
        share = done / max(settings.epochs * steps, 1)
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))
    return rate * min(1.0, (done + 1) / (settings.warmup_steps + 1))


def gradient_norm(network: nn.Module, largest: float | None) -> torch.Tensor:
    """Norm of all gradients, which are scaled down to `largest` where it is given."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if largest is not None:
        torch.nn.utils.clip_grads_with_norm_(network.parameters(), largest, norm)
    return norm

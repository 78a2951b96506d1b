"""One step of the optimiser: augmentation, targets, forward, losses, backward, update."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from stnuclei.augmentation.shape import random_crop
from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.loading.batches import batch_targets
from stnuclei.training.distributed import sum_over_processes, without_sync
from stnuclei.training.failures import not_finite
from stnuclei.training.run import TrainingRun, chunk_seed
from stnuclei.training.schedule import learning_rate

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
    for part, batch in enumerate(batches):
        # Seeded by the part's number among all parts of all processes: two processes draw what one process with
        # twice the accumulation draws, and a continued run draws what the unbroken one did.
        seed = chunk_seed(settings.seed, state.epoch, state.step, run.group.rank * settings.accumulation + part)
        if part + 1 < len(batches):
            with without_sync(model):
                terms = learn_from(run, model, batch, seed)
        else:
            terms = learn_from(run, model, batch, seed)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach().double() / len(batches)
    run.scaler.unscale_(run.optimizer)
    sums["gradient_norm"] = gradient_norm(run.network, settings.gradient_clip).double()
    means = run.group.sum(torch.stack(list(sums.values()))) / run.group.size
    check_finite(run, dict(zip(sums, means.tolist(), strict=True)), batches, rate)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    run.group.average_buffers(run.network)
    for name, value in zip(sums, means.tolist(), strict=True):
        state.sums[name] = state.sums.get(name, 0.0) + value
    state.step += 1


def learn_from(run: TrainingRun, model: nn.Module, batch: Batch, seed: int) -> dict[str, torch.Tensor]:
    """Augment, targets, forward, losses, backward for one part of a batch; returns the loss terms and ``loss``."""
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
    reduce = sum_over_processes if settings.sync_losses else None
    terms = cellvit_losses(outputs, targets, variant=settings.loss_variant, reduce=reduce)
    loss = total_loss(terms, settings.loss_weights)
    run.scaler.scale(loss / settings.accumulation).backward()
    return {"loss": loss, **terms}


def gradient_norm(network: nn.Module, largest: float | None) -> torch.Tensor:
    """Norm of all gradients, which are scaled down to `largest` where it is given."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if largest is not None:
        torch.nn.utils.clip_grads_with_norm_(network.parameters(), largest, norm)
    return norm


def check_finite(run: TrainingRun, means: Mapping[str, float], batches: list[Batch], rate: float) -> None:
    """Stop where a loss term or the gradient is not finite, naming the patches.

    `means` are over all processes, so that all stop together. With fp16 a gradient that is not finite is usual: the
    scaler skips the step and lowers its scale.
    """
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    if not bad or (bad == ["gradient_norm"] and run.scaler.is_enabled()):
        return
    wrong = "gradient" if bad == ["gradient_norm"] else f"loss ({', '.join(bad)})"
    names = [run.data.name_of(int(i)) for batch in batches for i in batch["index"]]
    raise not_finite(wrong, run.state.epoch + 1, run.state.step + 1, names, rate)

"""The training loop of CellViT.

One process, on the GPU or CPU there is::

    stnuclei train run.json

Four GPUs of one machine (the batch of the settings is shared out: the recipe does not change)::

    torchrun --nproc-per-node 4 --signals-to-handle SIGTERM,SIGINT,SIGUSR1 --shutdown-timeout 300 \
        -m stnuclei train run.json

Two machines of four GPUs, on each of them::

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 \
        --signals-to-handle SIGTERM,SIGINT,SIGUSR1 --shutdown-timeout 300 -m stnuclei train run.json

``run.json`` holds ``sources`` and ``validation`` (lists of ``{"patches": ..., "labels": ...}``), ``out_dir``,
``settings``, ``taxonomy`` and ``provenance``. The command given again continues a run that was stopped.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.cellvit.targets import make_targets
from stnuclei.config.training import TrainSettings
from stnuclei.loading.batches import on_device
from stnuclei.loading.sources import Source
from stnuclei.progress import Progress
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import build, failures, history, resume
from stnuclei.training.distributed import processes, sum_over_processes, without_sync
from stnuclei.training.resume import TrainingState
from stnuclei.training.run import Run, chunk_seed, note, prepare, say, summary
from stnuclei.training.schedule import learning_rate
from stnuclei.training.validation import validate

Batch = Mapping[str, torch.Tensor]


def train(
    sources: Sequence[Source],
    validation: Sequence[Source],
    out_dir: str | Path,
    settings: TrainSettings,
    *,
    taxonomy: Taxonomy | str,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train a model, or continue where an earlier call in the same folder stopped.

    Parameters
    ----------
    sources, validation
        Patches and labels to learn from, and to look at after each epoch (may be empty).
    out_dir
        Gets ``checkpoint.pt`` at the end, ``last.pt`` (state to continue from), ``history.csv``, ``curves.png`` and
        ``tensorboard/`` after each epoch.
    settings
        The recipe.
    taxonomy
        Classes, or the name of a shipped taxonomy.
    provenance
        Goes into the checkpoint: samples, label method, versions.

    Raises
    ------
    UserError
        If a source cannot be used, memory or disk are short, or a loss is not finite; last.pt is then whole.
    TrainingStopped
        After SIGTERM, SIGUSR1 or Ctrl-C, with the state saved (exit code 75).
    """
    with failures.stop_requests() as stop, processes(settings.device) as world:
        run = prepare(sources, validation, Path(out_dir), settings, Taxonomy.load(taxonomy), world, stop)
        board = history.Board(run.folder, settings.tensorboard and world.is_main)
        with failures.memory_explained(settings, world.size):
            while run.place.epoch < settings.epochs:
                train_epoch(run)
                finish_epoch(run, board)
            finish(run, provenance or {})
        board.close()


def train_epoch(run: Run) -> None:
    """All steps of the current epoch that are still to be done."""
    settings, world, place = run.settings, run.world, run.place
    order = run.order()
    if len(order) == 0:
        return
    run.loader.sampler = order
    build.set_trainable(run.model, settings, place.epoch)
    run.model.train()
    model = world.wrap(run.model)
    unseen = None if world.is_main else io.StringIO()
    bar = Progress(len(order) * world.size, f"epoch {place.epoch + 1}/{settings.epochs}", "patches", unseen)
    started = time.monotonic()
    held: list[Batch] = []
    for batch in on_device(run.loader, world.device):
        held.append(batch)
        if len(held) == settings.accumulation:
            take_step(run, model, held)
            held = []
            bar.update(settings.batch_size, note=note(run, bar))
            stop_if_asked(run, seconds=time.monotonic() - started)
    place.seconds += time.monotonic() - started
    bar.close()


def take_step(run: Run, model: nn.Module, batches: list[Batch]) -> None:
    """One step of the optimiser: forward and backward for each part of the batch, then the update."""
    settings, place = run.settings, run.place
    rate = learning_rate(settings, place.epoch, place.step, run.sampler.steps)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    sums: dict[str, torch.Tensor] = {}
    for part, batch in enumerate(batches):
        # Seeded by the part's number among all parts of all processes: two processes draw what one process with
        # twice the accumulation draws, and a continued run draws what the unbroken one did.
        seed = chunk_seed(settings.seed, place.epoch, place.step, run.world.rank * settings.accumulation + part)
        if part + 1 < len(batches):
            with without_sync(model):
                terms = learn_from(run, model, batch, seed)
        else:
            terms = learn_from(run, model, batch, seed)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach().double() / len(batches)
    run.scaler.unscale_(run.optimizer)
    sums["gradient_norm"] = build.gradient_norm(run.model, settings.gradient_clip).double()
    means = run.world.sum(torch.stack(list(sums.values()))) / run.world.size
    check_finite(run, dict(zip(sums, means.tolist(), strict=True)), batches, rate)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    run.world.average_buffers(run.model)
    for name, value in zip(sums, means.tolist(), strict=True):
        place.sums[name] = place.sums.get(name, 0.0) + value
    place.step += 1


def learn_from(run: Run, model: nn.Module, batch: Batch, seed: int) -> dict[str, torch.Tensor]:
    """Augment, targets, forward, losses, backward for one part of a batch; returns the loss terms and ``loss``."""
    settings, device = run.settings, run.world.device
    torch.manual_seed(seed)
    images, instances = run.augment(batch["image"], batch["instances"], seed=seed)
    targets = make_targets(instances, batch["classes"])
    targets["tissue"] = batch["tissue"]
    if settings.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, run.precision, enabled=run.precision != torch.float32):
        outputs = model(images)
    reduce = sum_over_processes if settings.sync_losses else None
    terms = cellvit_losses(outputs, targets, variant=settings.loss_variant, reduce=reduce)
    loss = total_loss(terms, settings.loss_weights)
    run.scaler.scale(loss / settings.accumulation).backward()
    return {"loss": loss, **terms}


def check_finite(run: Run, means: Mapping[str, float], batches: list[Batch], rate: float) -> None:
    """Stop where a loss term or the gradient is no number, naming the patches.

    `means` are over all processes, so that all stop together. With fp16 a gradient that is no number is usual: the
    scaler passes over the step and lowers its scale.
    """
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    if not bad or (bad == ["gradient_norm"] and run.scaler.is_enabled()):
        return
    what = "gradient" if bad == ["gradient_norm"] else f"loss ({', '.join(bad)})"
    names = [run.data.name_of(int(i)) for batch in batches for i in batch["index"]]
    raise failures.not_finite(what, run.place.epoch + 1, run.place.step + 1, names, rate)


def stop_if_asked(run: Run, seconds: float = 0.0) -> None:
    """Save and leave when any process got a signal; called between steps, where all processes come by."""
    if not any(run.world.any(bool(run.stop))):
        return
    run.place.seconds += seconds
    save_state(run)
    place = run.place
    message = (
        f"training: stopped by {run.stop.signal or 'a signal to another process'} in epoch {place.epoch + 1} after "
        f"step {place.step} of {run.sampler.steps}; the state is saved in {run.folder / resume.NAME}. "
        "Run the same command again to continue"
    )
    say(run, message)
    raise failures.TrainingStopped(message)


def save_state(run: Run) -> None:
    """Write last.pt; the first process does, the others wait."""
    if run.world.is_main:
        resume.save(run.folder, run.place, run.parts, run.same)
    run.world.barrier()


def finish_epoch(run: Run, board: history.Board) -> None:
    """Validate, write the epoch's row, save the state, draw the curves."""
    settings, place = run.settings, run.place
    steps = max(place.step, 1)
    row = {
        "epoch": float(place.epoch + 1),
        "learning_rate": learning_rate(settings, place.epoch, 0, run.sampler.steps),
        **{f"train_{name}": value / steps for name, value in place.sums.items()},
    }
    last = place.epoch + 1 == settings.epochs
    due = (place.epoch + 1) % settings.validate_every == 0 and settings.validation_patches > 0
    if run.held_out is not None and (due or last):
        limit = None if last else settings.validation_patches
        scores = validate(run.model, run.held_out, settings, run.taxonomy, run.world, limit, lambda: stop_if_asked(run))
        row |= {f"val_{name}": float(value) for name, value in scores.items()}
    row |= {"seconds": place.seconds, "patches_per_s": steps * settings.batch_size / max(place.seconds, 1e-9)}
    run.place = TrainingState(epoch=place.epoch + 1, history=[*place.history, row])
    save_state(run)
    if run.world.is_main:
        history.write_csv(run.folder, run.place.history)
        colors = {f"val_f1_{c.name}": c.color for c in run.taxonomy.classes}
        history.draw(run.folder, run.place.history, colors, f"{settings.architecture}, {len(run.data):,} patches")
        board.add(row)
    say(run, summary(row, settings.epochs))


def finish(run: Run, provenance: Mapping[str, Any]) -> None:
    """Write checkpoint.pt with the last epoch's scores in its provenance."""
    if run.world.is_main:
        scores = {key: value for key, value in run.place.history[-1].items() if key.startswith("val_")}
        build.write_checkpoint(run.folder, run.model, run.taxonomy, run.data, run.settings, provenance, scores)
    run.world.barrier()
    say(run, f"training: done, {run.folder / 'checkpoint.pt'}")

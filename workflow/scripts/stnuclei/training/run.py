"""A run: its parts, made from settings and data, and what it says."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.config.training import TrainSettings
from stnuclei.loading.collection import Collection
from stnuclei.loading.loader import PatchLoader
from stnuclei.loading.sampler import Sampler, patch_weights
from stnuclei.loading.shard_order import by_shards
from stnuclei.loading.sources import Source
from stnuclei.progress import Progress, clock
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import build, failures, resume
from stnuclei.training.distributed import ProcessGroup
from stnuclei.training.resume import TrainingState
from stnuclei.training.schedule import precision_of


@dataclass
class Run:
    """All that a run consists of; the loop's functions take it from hand to hand."""

    settings: TrainSettings
    taxonomy: Taxonomy
    folder: Path
    world: ProcessGroup
    data: Collection
    held_out: Collection | None
    loader: PatchLoader
    sampler: Sampler
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    augment: Augmenter
    precision: torch.dtype
    same: dict[str, Any]
    stop: failures.StopRequest
    place: TrainingState

    @property
    def parts(self) -> dict[str, Any]:
        """What has a state to keep."""
        return {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}

    def order(self) -> np.ndarray:
        """Patch numbers this process still has to read in the current epoch, in order, int64 (n,)."""
        order = self.sampler.share(self.place.epoch, self.world.rank, self.world.size)
        if self.settings.slow_disk:
            seed = chunk_seed(self.settings.seed, self.place.epoch, 0, self.world.rank)
            order = by_shards(order, np.diff(self.data.first).tolist(), seed=seed)
        return order[self.place.step * (self.settings.batch_size // self.world.size) :]


def prepare(
    sources: Sequence[Source],
    validation: Sequence[Source],
    folder: Path,
    settings: TrainSettings,
    taxonomy: Taxonomy,
    world: ProcessGroup,
    stop: failures.StopRequest,
) -> Run:
    """Open the data, build model and optimiser, and go to where an earlier run stopped."""
    settings.micro_batch(world.size)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    data = Collection.open(sources, taxonomy)
    held_out = Collection.open(validation, taxonomy, tissues=data.tissues) if validation else None
    weights = patch_weights(settings.sampling, data.tissue, data.presence, settings.sampling_gamma)
    sampler = Sampler(len(data), settings.batch_size, weights, settings.samples_per_epoch, settings.seed)
    model = build.model(settings, taxonomy, data.tissues, world.device)
    run = Run(
        settings=settings,
        taxonomy=taxonomy,
        folder=folder,
        world=world,
        data=data,
        held_out=held_out,
        loader=data.loader(
            taxonomy, settings.micro_batch(world.size), settings.readers, 2 if settings.slow_disk else 0
        ),
        sampler=sampler,
        model=model,
        optimizer=build.optimizer(model, settings, world.device),
        scaler=build.scaler(settings, world.device),
        augment=build.augmenter(settings),
        precision=precision_of(settings, world.device),
        same=resume.identity(settings, data.fingerprint(), taxonomy.names, data.tissues),
        stop=stop,
        place=TrainingState(),
    )
    run.place, how = resume.load(folder, run.parts, run.same, world.device, rename=world.is_main)
    world.barrier()
    words = build.describe(data, sampler, settings, model, world, run.precision, taxonomy.names)
    say(run, f"{words}\ntraining: {how}")
    return run


def chunk_seed(seed: int, epoch: int, step: int, chunk: int) -> int:
    """A 63-bit seed for one part of one batch."""
    return int(np.random.SeedSequence([seed, epoch, step, chunk]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def summary(row: Mapping[str, float], epochs: int) -> str:
    """One line on an epoch."""
    shown = ("train_loss", "val_loss", "val_bpq", "val_detection_f1", "val_macro_f1")
    scores = ", ".join(f"{key.replace('_', ' ')} {row[key]:.4f}" for key in shown if key in row)
    return f"epoch {row['epoch']:.0f}/{epochs}: {scores}, {row['patches_per_s']:.1f} patches/s"


def note(run: Run, bar: Progress) -> str:
    """What stands behind the progress bar: mean losses so far, and when the whole run will be done."""
    place, settings = run.place, run.settings
    mean = {name: value / place.step for name, value in place.sums.items()}
    words = " ".join(f"{name} {mean[name]:.3f}" for name in ("loss", "np_dice", "hv_mse", "nt_bce") if name in mean)
    taken = (time.monotonic() - bar.start) / max(bar.count, 1)
    left = ((settings.epochs - place.epoch) * run.sampler.steps - place.step) * settings.batch_size
    return f"{words}, run done in {clock(left * taken)}"


def say(run: Run, text: str) -> None:
    """Print, from the first process only."""
    if run.world.is_main:
        print(text, flush=True)

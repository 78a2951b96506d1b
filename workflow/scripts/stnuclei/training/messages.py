"""Messages of a training run: the head of its log, the progress bar's note, one line an epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping

from stnuclei.metrics import FEW_PAIRS
from stnuclei.progress import Progress, clock
from stnuclei.training.run import TrainingRun


def head(run: TrainingRun, start: str) -> str:
    """The log's first lines: network, device, data, schedule, and `start` (a new run or a continued one)."""
    settings, data, group = run.settings, run.data, run.group
    parameters = sum(p.numel() for p in run.network.parameters())
    names = [*run.taxonomy.names, "Unknown"]
    counts = ", ".join(f"{n:,} {name}" for n, name in zip(data.nuclei, names, strict=True))
    split = f"{group.size} process(es) x {settings.accumulation} part(s) of {settings.micro_batch(group.size)}"
    weights = f"encoder from {settings.encoder_weights}" if settings.encoder_weights else "random start"
    if run.teacher is not None:
        weights += f", a teacher: {settings.teacher} ({run.teacher.network.settings.architecture.name})"
    return (
        f"training: {settings.architecture}, {parameters:,} parameters, {weights}, {group.device} in "
        f"{str(run.precision).removeprefix('torch.')}\n"
        f"training: {len(data):,} patches of {len(data.sources)} source(s), {len(data.tissues)} tissue(s); nuclei: "
        f"{counts}\n"
        f"training: {settings.epochs} epochs of {run.sampler.steps} steps of {settings.batch_size} patches ({split}), "
        f"sampling {settings.sampling}\ntraining: {start}"
    )


def summary(row: Mapping[str, float], epochs: int) -> str:
    """One line on an epoch."""
    shown = ("train_loss", "val_loss", "val_bpq", "val_detection_f1", "val_macro_f1")
    scores = ", ".join(f"{key.replace('_', ' ')} {row[key]:.4f}" for key in shown if key in row)
    if row.get("val_pairs", FEW_PAIRS) < FEW_PAIRS:
        scores += f" (class scores over {row['val_pairs']:.0f} nuclei only)"
    return f"epoch {row['epoch']:.0f}/{epochs}: {scores}, {row['patches_per_s']:.1f} patches/s"


def progress_note(run: TrainingRun, bar: Progress) -> str:
    """Text behind the progress bar: mean losses so far, and the time until the whole run is done."""
    state, settings = run.state, run.settings
    checked = max(state.step - (run.pending is not None), 1)
    mean = {name: value / checked for name, value in state.sums.items()}
    losses = " ".join(f"{name} {mean[name]:.3f}" for name in ("loss", "np_dice", "hv_mse", "nt_bce") if name in mean)
    seconds_per_patch = (time.monotonic() - bar.start) / max(bar.count, 1)
    left = ((settings.epochs - state.epoch) * run.sampler.steps - state.step) * settings.batch_size
    return f"{losses}, run done in {clock(left * seconds_per_patch)}"

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
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.config.training import TrainSettings
from stnuclei.files import locked
from stnuclei.loading.batches import on_device
from stnuclei.loading.sources import Source
from stnuclei.progress import Progress
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import failures, history, messages, resume
from stnuclei.training.diagnosis import learning_problems
from stnuclei.training.distributed import process_group
from stnuclei.training.memory import fit_batch
from stnuclei.training.resume import TrainingState
from stnuclei.training.run import TrainingRun, prepare, set_trainable, write_checkpoint
from stnuclei.training.step import Batch, learning_rate, settle, take_step
from stnuclei.training.validation import validate


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
    with (
        failures.stop_requests() as stop,
        process_group(settings.device) as group,
        locked(out_dir) if group.is_main else nullcontext(),
    ):
        run, start = prepare(sources, validation, Path(out_dir), settings, Taxonomy.load(taxonomy), group, stop)
        run.say(messages.head(run, start))
        fit_batch(run)
        settings = run.settings
        board = history.Board(run.folder, settings.tensorboard and group.is_main)
        with failures.memory_explained(settings, group.size):
            while run.state.epoch < settings.epochs and not ended_early(run):
                train_epoch(run)
                finish_epoch(run, board)
            finish(run, provenance or {})
        board.close()


def train_epoch(run: TrainingRun) -> None:
    """All steps of the current epoch that are still to be done."""
    settings, group, state = run.settings, run.group, run.state
    order = run.order()
    if len(order) == 0:
        return
    run.loader.sampler = order
    set_trainable(run.network, settings, state.epoch)
    run.network.train()
    model = group.wrap(run.network)
    unseen = None if group.is_main else io.StringIO()
    bar = Progress(len(order) * group.size, f"epoch {state.epoch + 1}/{settings.epochs}", "patches", unseen)
    started = time.monotonic()
    held: list[Batch] = []
    for batch in on_device(run.loader, group.device):
        held.append(batch)
        if len(held) == settings.accumulation:
            take_step(run, model, held)
            held = []
            bar.update(settings.batch_size, note=messages.progress_note(run, bar))
            stop_if_asked(run, seconds=time.monotonic() - started)
    settle(run)
    state.seconds += time.monotonic() - started
    bar.close()


def stop_if_asked(run: TrainingRun, seconds: float = 0.0) -> None:
    """Save and leave when any process got a signal; called between steps, where all processes come by."""
    if not any(run.group.any(bool(run.stop))):
        return
    settle(run)
    run.state.seconds += seconds
    save_state(run)
    state = run.state
    message = (
        f"training: stopped by {run.stop.signal or 'a signal to another process'} in epoch {state.epoch + 1} after "
        f"step {state.step} of {run.sampler.steps}; the state is saved in {run.folder / resume.NAME}. "
        "Run the same command again to continue"
    )
    run.say(message)
    raise failures.TrainingStopped(message)


def save_state(run: TrainingRun) -> None:
    """Write last.pt; the first process does, the others wait."""
    if run.group.is_main:
        resume.save(run.folder, run.state, run.stateful, run.identity)
    run.group.barrier()


def finish_epoch(run: TrainingRun, board: history.Board) -> None:
    """Validate, write the epoch's row, save the state, draw the curves."""
    settings, state = run.settings, run.state
    steps = max(state.step, 1)
    row = {
        "epoch": float(state.epoch + 1),
        "learning_rate": learning_rate(settings, state.epoch, 0, run.sampler.steps),
        **{f"train_{name}": value / steps for name, value in state.sums.items()},
    }
    last = state.epoch + 1 == settings.epochs
    due = (state.epoch + 1) % settings.validate_every == 0 and settings.validation_patches > 0
    if run.validation is not None and (due or last):
        # Epochs that are compared are scored on the same patches; all are scored when the choice is made.
        limit = None if last and run.best is None else settings.validation_patches
        scores = validate(run, limit, lambda: stop_if_asked(run))
        row |= {f"val_{name}": float(value) for name, value in scores.items()}
    row |= {"seconds": state.seconds, "patches_per_s": steps * settings.batch_size / max(state.seconds, 1e-9)}
    run.state = TrainingState(epoch=state.epoch + 1, history=[*state.history, row])
    if run.best is not None:
        run.best.offer(run.network, row, state.epoch)
    save_state(run)
    if run.group.is_main:
        if not last:
            write_history(run)
        board.add(row)
    run.say(messages.summary(row, settings.epochs))


def leave_if_asked(run: TrainingRun) -> None:
    """Leave when any process got a signal, without saving: the state is saved, and the network has other weights."""
    if any(run.group.any(bool(run.stop))):
        raise failures.TrainingStopped("training: stopped by a signal after its last epoch; run the command again")


def ended_early(run: TrainingRun) -> bool:
    """True if the last `patience` epochs brought no better validation score."""
    return run.best is not None and run.best.is_stale(run.state.epoch, run.settings.patience)


def chosen_epoch(run: TrainingRun) -> tuple[int, dict[str, float]]:
    """Number of the epoch whose weights the model gets, from 1, and its validation scores; loads the weights."""
    row = run.state.history[-1]
    if run.best is None:
        return run.settings.epochs, {key: value for key, value in row.items() if key.startswith("val_")}
    epoch = run.state.epoch
    if run.best.weights:
        epoch = run.best.epoch + 1
        run.network.load_state_dict(run.best.weights)
    scores = validate(run, None, lambda: leave_if_asked(run))
    run.say(f"training: the model has the weights of epoch {epoch} of {run.state.epoch}, by {run.settings.keep_by}")
    return epoch, {f"val_{name}": float(value) for name, value in scores.items()}


def write_history(run: TrainingRun) -> None:
    """Write history.csv and curves.png."""
    history.write_csv(run.folder, run.state.history)
    colors = {f"val_f1_{c.name}": c.color for c in run.taxonomy.classes}
    history.draw(run.folder, run.state.history, colors, f"{run.settings.architecture}, {len(run.data):,} patches")


def finish(run: TrainingRun, provenance: Mapping[str, Any]) -> None:
    """Write history.csv, curves.png and checkpoint.pt, with the last epoch's scores in its provenance.

    A run killed after its last state was saved comes here at once, so what follows the state is written here.
    """
    epoch, scores = chosen_epoch(run)
    if run.group.is_main:
        write_history(run)
        problems = learning_problems(pd.DataFrame(run.state.history))
        write_checkpoint(run, {**provenance, "warnings": problems} if problems else provenance, epoch, scores)
        for problem in problems:
            run.say(f"training: WARNING: {problem}")
    run.group.barrier()
    run.say(f"training: done, {run.folder / 'checkpoint.pt'}")

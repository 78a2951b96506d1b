"""Fitting the batch into the GPU's memory before a run begins, instead of ending it at the epoch the encoder thaws."""

from __future__ import annotations

import torch

from stnuclei.cellvit.device import is_out_of_memory
from stnuclei.loading.batches import Batch, on_device
from stnuclei.training.failures import memory_advice
from stnuclei.training.run import TrainingRun, chunk_seed
from stnuclei.training.step import learn_from


def fit_batch(run: TrainingRun) -> None:
    """Halve the parts of a batch until one step with the encoder thawed fits, and say so in one line.

    The trial comes before the first epoch: an encoder frozen for 25 epochs needs little memory, and the run would end
    after most of a day (cellvit-sam-l at 128 patches: 46 GiB frozen, 109 thawed, computed). `accumulation` changes, not
    the optimiser's batch. Weights and BatchNorm statistics are as before; nothing is tried on a CPU, whose memory is
    not refused but swapped, nor with `sync_batchnorm` on several GPUs, where a trial would wait for other processes.

    Raises
    ------
    UserError
        If not even one patch at a time fits.
    """
    group = run.group
    if group.device.type != "cuda" or run.state.epoch >= run.settings.epochs:
        return
    if group.size > 1 and run.settings.sync_batchnorm:
        return
    wanted = held = run.settings.micro_batch(group.size)
    batch = _first_batch(run)
    while True:
        failed = not trial_step(run, {name: tensor[:held] for name, tensor in batch.items()})
        if not any(group.any(failed)):
            break
        smaller = next((n for n in range(held // 2, 0, -1) if held % n == 0), None)
        if smaller is None:
            raise memory_advice(run.settings, group.size)
        held = smaller
    if held < wanted:
        use_parts(run, run.settings.accumulation * wanted // held)
        run.say(
            f"training: {group.device} does not hold {wanted} patches at a time with the encoder learning; {held} at a "
            f"time, accumulation {run.settings.accumulation}, the optimiser's batch stays {run.settings.batch_size}"
        )


def use_parts(run: TrainingRun, accumulation: int) -> None:
    """Compute the batches of a run in so many parts."""
    run.settings = run.settings.replace(accumulation=accumulation)
    run.loader.batch_size = run.settings.micro_batch(run.group.size)


def _first_batch(run: TrainingRun) -> Batch:
    """The first part of a batch that the run would read, on the device."""
    size = run.settings.micro_batch(run.group.size)
    run.loader.sampler = run.sampler.share(run.state.epoch, run.group.rank, run.group.size)[:size]
    return next(iter(on_device(run.loader, run.group.device)))


def trial_step(run: TrainingRun, batch: Batch) -> bool:
    """True if forward, backward and the optimiser's moments fit; the run is left as it was.

    Parameters
    ----------
    run
        Its network gets gradients, which are dropped again.
    batch
        On the device.
    """
    network, settings = run.network, run.settings
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    trainable = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    network.requires_grad_(True).train()
    try:
        moments = _moments(run)
        learn_from(run, network, batch, chunk_seed(settings.seed, 0, 0, 0), together=False)
        if run.group.device.type == "cuda":
            torch.cuda.synchronize(run.group.device)
        del moments
        return True
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        run.optimizer.zero_grad(set_to_none=True)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(trainable[name])
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
        if run.group.device.type == "cuda":
            torch.cuda.empty_cache()


def _moments(run: TrainingRun) -> list[torch.Tensor]:
    """Memory AdamW will take for its two moments, where it has not yet."""
    if run.optimizer.state:
        return []
    return [torch.empty_like(parameter) for parameter in run.network.parameters() for _ in range(2)]

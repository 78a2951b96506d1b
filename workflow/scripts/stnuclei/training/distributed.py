"""One process or many: rank and world size, and what the processes exchange.

Several processes are started by ``torchrun``, on one machine or on several; gradients travel by NCCL between GPUs and
by gloo between CPUs. Counts and decisions always travel by gloo, so that they never wait for a GPU.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from stnuclei.cellvit.device import choose_device, use_gpu
from stnuclei.errors import UserError
from stnuclei.training.failures import TrainingStopped


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run, seen from one of them.

    Parameters
    ----------
    rank, size
        Number of this process, and how many there are.
    device
        Device of this process.
    control
        Group for counts and decisions; None in a run of one process.
    """

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """True if this process writes the files and the log."""
        return self.rank == 0

    def sum(self, values: Sequence[float] | torch.Tensor) -> torch.Tensor:
        """Sum of each value over all processes, float64 on CPU."""
        total = torch.as_tensor(values, dtype=torch.float64).detach().cpu().clone()
        if self.size > 1:
            dist.all_reduce(total, group=self.control)
        return total

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is raised in any process."""
        return [count > 0 for count in self.sum([float(flag) for flag in flags]).tolist()]

    def gather(self, value: str) -> list[str]:
        """A short text of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def average_buffers(self, model: nn.Module) -> None:
        """Give all processes the mean of their BatchNorm running statistics, in one message.

        Called after each step: the statistics are then those of the whole batch's parts, and a continued run finds
        in the first process's state what every process had.
        """
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if self.size == 1 or not buffers:
            return
        joined = torch.cat([buffer.flatten() for buffer in buffers])
        dist.all_reduce(joined)
        joined /= self.size
        for buffer, mean in zip(buffers, joined.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as the loop calls it: with gradients averaged over all processes where there are several.

        To be called again whenever other parameters are to be trained.
        """
        trained = any(parameter.requires_grad for parameter in model.parameters())
        if self.size == 1 or not trained:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)
        wrapped.broadcast_buffers = False  # see `average_buffers`
        return wrapped


def without_sync(model: nn.Module) -> AbstractContextManager[Any]:
    """Context in which gradients stay in this process: all parts of a batch but the last."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over all processes, through which gradients flow back to all of them.

    Each process's loss may use the result: DDP's mean of their gradients is then the gradient of the mean loss.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # marked experimental in torch, its gradient is held by our tests
        return all_reduce(values.contiguous())


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes on any device, where torch has it for GPUs only.

    The same parameters, buffers and results as `torch.nn.BatchNorm2d` has on the joined batch.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = wide.new_full((1,), wide.numel() / wide.shape[1])
        sums = torch.cat([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), count])
        total, squares, n = sum_over_processes(sums).split([x.shape[1], x.shape[1], 1])
        mean = total / n
        variance = squares / n - mean.square()
        # Types: both are None only where running statistics are off, which `convert` never makes.
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (wide * scale.view(-1, 1, 1) + (self.bias - mean * scale).view(-1, 1, 1)).to(x.dtype)

    @classmethod
    def convert(cls, model: nn.Module) -> nn.Module:
        """Replace every BatchNorm2d of a model, in place, keeping parameters and their names."""
        for name, child in model.named_children():
            if isinstance(child, nn.BatchNorm2d) and not isinstance(child, cls):
                shared = cls(child.num_features, child.eps, child.momentum).to(child.weight)
                shared.load_state_dict(child.state_dict())
                setattr(model, name, shared)
            else:
                cls.convert(child)
        return model


@contextmanager
def process_group(device: str = "auto", backend: str | None = None) -> Iterator[ProcessGroup]:
    """Join the processes ``torchrun`` or ``srun`` started, or be the only one.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    backend
        Of the gradients' exchange: ``nccl`` for GPUs, ``gloo`` for CPUs where it is left out. ``gloo`` with ``cuda:0``
        puts several processes on one GPU, which NCCL refuses; for trials only.

    Raises
    ------
    UserError
        If a GPU is asked for where there is none, or more processes than GPUs are on a machine.
    """
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if size == 1:
        yield ProcessGroup(0, 1, choose_device(device, "training.device"))
        return
    chosen = local_device(device, local, shared=backend == "gloo")
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group(backend or ("nccl" if chosen.type == "cuda" else "gloo"))
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size(), chosen, dist.new_group(backend="gloo"))
    except TrainingStopped:  # raised by all processes together
        if ours:
            dist.destroy_process_group()
        raise
    # Not after an error: the other processes may be inside an all-reduce, and under NCCL destroying the group then
    # waits for them for ever (pytorch/torchtitan#1342). The process ends, and torchrun ends the others.
    if ours:
        dist.destroy_process_group()


def local_device(name: str, local: int, shared: bool = False) -> torch.device:
    """Device of one of several processes: the GPU of its local rank.

    Parameters
    ----------
    name
        ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` where `shared`.
    local
        Number of the process on its machine.
    shared
        True: all processes of a machine may use one GPU.

    Raises
    ------
    UserError
        If there are more processes than GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not gpus) or not gpus or shared:
        return choose_device(name, "training.device")
    if name.startswith("cuda:"):
        raise UserError(f"training.device: {name} would put all processes on one GPU; set it to cuda")
    if gpus == 1 and "SLURM_GPUS_PER_TASK" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        return use_gpu(0)  # srun shows each of its tasks the task's GPU only
    if local >= gpus:
        raise UserError(
            f"training: process {local} of this machine has no GPU ({gpus} seen): start at most {gpus} processes"
        )
    return use_gpu(local)

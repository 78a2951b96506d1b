"""One process or many: who this process is, and how the processes agree.

Several processes are started by ``torchrun``, on one machine or on several; gradients travel by NCCL between GPUs and
by gloo between CPUs. Counts and decisions always travel by gloo, so that they never wait for a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from stnuclei.errors import UserError


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them.

    Parameters
    ----------
    rank, size
        Number of this process, and how many there are.
    device
        Where this process computes.
    control
        Group for counts and decisions; None in a run of one process.
    """

    rank: int
    size: int
    device: torch.device
    control: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and speaks."""
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

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes the first one's buffers (BatchNorm's running statistics)."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def wrap(self, model: nn.Module, sync_buffers: bool) -> nn.Module:
        """The model as the loop calls it: with gradients averaged over all processes where there are several.

        To be called again whenever other parameters are to be trained.
        """
        trained = any(parameter.requires_grad for parameter in model.parameters())
        if self.size == 1 or not trained:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            model, device_ids=devices, broadcast_buffers=sync_buffers, gradient_as_bucket_view=True
        )


def without_sync(model: nn.Module) -> Any:
    """Context in which gradients stay in this process: all parts of a batch but the last."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


@contextmanager
def processes(device: str = "auto") -> Iterator[World]:
    """Join the processes ``torchrun`` started, or be the only one.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises
    ------
    UserError
        If a GPU is asked for where there is none, or more processes than GPUs are on a machine.
    """
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    chosen = _device(device, local, size)
    if size == 1:
        yield World(0, 1, chosen)
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen, dist.new_group(backend="gloo"))
    finally:
        if ours:
            dist.destroy_process_group()


def _device(name: str, local: int, size: int) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    if not name.startswith("cuda"):
        return torch.device(name)
    if not gpus:
        raise UserError("training.device: cuda is asked for but torch sees no GPU here; set it to auto or cpu")
    if name == "cuda" and size > 1:
        if local >= gpus:
            raise UserError(
                f"training: process {local} of this machine has no GPU of its own ({gpus} seen): start fewer"
            )
        name = f"cuda:{local}"
    device = torch.device(name)
    torch.cuda.set_device(device)
    return device

"""The device a job computes on, the dtype of its forward pass, and torch's global switches."""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from stnuclei.errors import UserError

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
#: Parameters of mallopt(3), from glibc's malloc.h: blocks that are mapped apart, memory that is given back.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1
#: Locks of the GPUs this process uses; kept open, since closing a file gives its lock back.
_held: list[IO[str]] = []


def choose_device(name: str, setting: str) -> torch.device:
    """A device from its name; a GPU always has its index.

    Parameters
    ----------
    name
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``. Of several GPUs ``auto`` and ``cuda`` take
        one that no other process of this package uses: two jobs of a workflow on one machine do not share a GPU.
    setting
        Name of the setting, for messages: ``training.device``.

    Raises
    ------
    UserError
        If there is no such device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"{setting}: {name!r} is no device; set it to auto, cpu or cuda") from None
    if device.type != "cuda":
        return device
    if not gpus:
        raise UserError(f"{setting}: {name} is asked for but torch sees no GPU here; set it to auto or cpu")
    index = _own_gpu(gpus) if device.index is None else device.index
    if index >= gpus:
        raise UserError(f"{setting}: {name} is asked for but torch sees {gpus} GPU(s) here, numbered from 0")
    return use_gpu(index)


def use_gpu(index: int) -> torch.device:
    """Make a GPU the current device of this process."""
    # Batches of changing size fragment the memory; segments that grow avoid it. Read at the first allocation, and
    # the user's own setting stands.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    device = torch.device("cuda", index)  # `set_device` refuses a device without an index
    torch.cuda.set_device(device)
    return device


@cache
def _own_gpu(gpus: int) -> int:
    """The GPU of this process, the same at every call."""
    return free_gpu(gpus)


def free_gpu(gpus: int, folder: Path | None = None) -> int:
    """Index of a GPU no other process has locked, 0 where all are in use or there is only one.

    Clusters and containers show a job its own GPUs only; on a plain machine several jobs see all of them.
    """
    if gpus == 1:
        return 0
    folder = folder or Path(tempfile.gettempdir())
    for index in range(gpus):
        try:
            lock = open(folder / f"stnuclei-gpu-{os.getuid()}-{_uuid(index)}.lock", "w")  # noqa: SIM115
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        _held.append(lock)
        return index
    return 0


def _uuid(index: int) -> str:
    """Name of a GPU that does not depend on which GPUs a process sees."""
    return str(getattr(torch.cuda.get_device_properties(index), "uuid", index))


def choose_precision(name: str, device: torch.device, prefer: str = "bf16", cpu_bf16: bool = False) -> torch.dtype:
    """Dtype of the forward pass.

    Parameters
    ----------
    name
        ``fp32``, ``bf16``, ``fp16``, or ``auto``: fp32 on CPU, on a GPU `prefer` where it has it, else fp16.
    device
        The device.
    prefer
        ``bf16`` for training: it needs no loss scaling. ``fp16`` for prediction: as fast, and three more bits make the
        maps five times as exact (HV maps of the demo model: rms error 0.0004 against 0.002 of bf16, on a CPU).
    cpu_bf16
        ``auto`` is bf16 on a CPU that computes in it, see `cpu_has_bf16`.

    Raises
    ------
    UserError
        For an unknown precision.
    """
    if name != "auto":
        if name not in PRECISIONS:
            raise UserError(f"precision: {name!r} is not one of auto, {', '.join(PRECISIONS)}")
        return PRECISIONS[name]
    if device.type != "cuda":
        return torch.bfloat16 if cpu_bf16 and cpu_has_bf16() else torch.float32
    if prefer == "bf16" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return PRECISIONS[prefer]


def cpu_has_bf16() -> bool:
    """True if this CPU multiplies bf16 numbers itself; one that has to convert them is slower than in fp32.

    A training step of cellvit-light takes 0.6 of the time in fp32 (one core of an EPYC with AVX512-BF16).
    """
    ask: Any = getattr(torch.cpu, "get_capabilities", dict)  # absent from older torch
    return any(ask().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def set_arithmetic(deterministic: bool) -> None:
    """Set torch's switches: fp32 means fp32, and reproducible kernels where they are asked for.

    Without this cuDNN computes convolutions of fp32 tensors in TF32, with ten bits of mantissa, also those of the
    losses. `deterministic` covers cuDNN and scatter operations; memory-efficient attention and bicubic resizing have no
    reproducible backward on GPUs, torch warns where a network uses them.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by cuBLAS, see torch's notes
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        # The call above with False imports torch._inductor: two seconds of a prediction.
        torch.set_deterministic_debug_mode("default")
    debug: Any = torch.utils.deterministic  # torch's types do not name the switch
    debug.fill_uninitialized_memory = False  # costs a pass over every new tensor


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, for arithmetic on a CPU; for a process of its own, not for a library.

    glibc asks the system anew for every block above 32 MB, and the system clears it page by page: a sixth of the CPU
    time of a training step of cellvit-tiny with 8 patches of 256 px. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """True if torch ran out of memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


class HostCopy:
    """Numbers of a tensor on their way to the host; asking for them waits for this copy, not for what was queued after.

    Parameters
    ----------
    values
        Any shape, on any device, without a gradient.
    """

    def __init__(self, values: torch.Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        if values.device.type == "cuda":
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()
        self._values = values

    def get(self) -> torch.Tensor:
        """The numbers, on the CPU."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._values


_kept = threading.local()


@contextmanager
def thread_stream(device: torch.device) -> Iterator[None]:
    """CUDA stream of the calling thread; nothing on a CPU.

    Two threads with a stream each overlap the copies of one batch with the kernels of the other: on one stream a GPU
    computes only 60 to 75 % of the time (estimated, not measured).
    """
    if device.type != "cuda":
        yield
        return
    streams = _kept.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    with torch.cuda.stream(streams[device]):
        yield


def to_host(maps: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Tensors as arrays; from a GPU through pinned memory, waiting for the calling thread's stream only."""
    if maps[0].device.type != "cuda":
        return [m.contiguous().cpu().numpy() for m in maps]
    hosts = [torch.empty(m.shape, dtype=m.dtype, pin_memory=True) for m in maps]
    for host, m in zip(hosts, maps, strict=True):
        host.copy_(m.contiguous(), non_blocking=True)
    torch.cuda.current_stream(maps[0].device).synchronize()
    return [host.numpy() for host in hosts]

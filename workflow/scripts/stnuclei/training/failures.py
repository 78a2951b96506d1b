"""Early termination of a run: signals, out of memory, full disk, losses that are not finite."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from stnuclei.cellvit.device import is_out_of_memory
from stnuclei.config.training import TrainSettings
from stnuclei.errors import UserError

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, try again


class TrainingStopped(SystemExit):
    """The run was asked to stop and saved its state; the process ends with exit code 75.

    A rule's retry, or the same command given again, continues where it stopped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(STOPPED)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StopRequest:
    """Request to stop by a signal."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; the loop checks it between two steps."""
        self.signal = signal.Signals(number).name

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGUSR1 (Slurm's warning) and Ctrl-C into a request that the loop checks between steps."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    for number in before:
        signal.signal(number, request.receive)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def memory_explained(settings: TrainSettings, processes: int) -> Iterator[None]:
    """Turn out-of-memory errors into a sentence that says which accumulation to set.

    Raises
    ------
    UserError
        In place of torch's out-of-memory error.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise memory_advice(settings, processes) from error


def memory_advice(settings: TrainSettings, processes: int) -> UserError:
    """The error for a batch the device's memory does not hold, with the accumulation to set."""
    held = settings.micro_batch(processes)
    said = (
        f"training: memory does not hold {held} patches at a time (batch_size {settings.batch_size}, "
        f"{processes} process(es), accumulation {settings.accumulation})"
    )
    smaller = next((n for n in range(held // 2, 0, -1) if held % n == 0), None)
    if smaller is None:
        return UserError(f"{said}: take a smaller architecture or a device with more memory")
    return UserError(
        f"{said}: set training.accumulation to {settings.accumulation * held // smaller}, which holds {smaller} at a "
        "time and keeps the batch; the run continues from its last checkpoint"
    )


def not_finite(quantity: str, epoch: int, step: int, names: Sequence[str], rate: float) -> UserError:
    """The error for a loss or gradient that is not finite.

    Parameters
    ----------
    quantity
        ``loss`` or ``gradient``, with its value or the terms at fault.
    epoch, step
        Counted from 1.
    names
        The patches of the batch, ``store[row]``.
    rate
        Learning rate of the step.
    """
    shown = ", ".join(names)
    return UserError(
        f"training: the {quantity} is not finite in epoch {epoch}, step {step} (learning rate {rate:.3g}). Patches of "
        f"the batch: {shown}. Look at these patches; if they are sound, lower training.learning_rate, set "
        "training.gradient_clip, or use precision bf16 or fp32 in place of fp16. last.pt holds the state before"
    )

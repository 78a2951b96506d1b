"""Slurm's time limit: save the run and end before the job is killed.

Slurm's own warning (``--signal``) goes to every process of the job's step, also to the Snakemake that watches the
training: that one ends at once and the job with it, perhaps before all is saved. So the training looks at the clock
itself.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds kept for the last step and for saving; a quarter of what is left where that is less.
MARGIN_S = 300.0


def seconds_left() -> float | None:
    """Seconds this Slurm job may still run; None outside Slurm, without a limit or where Slurm does not answer."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    command = ["squeue", "--noheader", "--format=%L", f"--jobs={job}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_time_left(answer.split()[0]) if answer.split() else None


def parse_time_left(text: str) -> float | None:
    """Seconds of Slurm's ``[days-[hours:]]minutes:seconds``; None for ``UNLIMITED``, ``NOT_SET`` and the like.

    Parameters
    ----------
    text
        As ``squeue --format=%L`` prints it.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        return None
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds


@contextmanager
def warned_before_the_end(process: int, left: float | None = None, margin: float = MARGIN_S) -> Iterator[float | None]:
    """Send SIGUSR1 to a process before the job's time is up; the training then saves and ends with exit code 75.

    Parameters
    ----------
    process
        Process id that gets the signal: this process, or the torchrun that passes it on.
    left
        Seconds the job may still run (default: ask Slurm).
    margin
        Seconds before the end.

    Yields
    ------
    Seconds until the signal; None where there is no limit.
    """
    left = seconds_left() if left is None else left
    if left is None:
        yield None
        return
    wait = max(left - min(margin, left / 4), 0.0)
    timer = threading.Timer(wait, os.kill, (process, signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield wait
    finally:
        timer.cancel()

"""Start a run that a file describes: in this process, or by torchrun in several of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import stnuclei
from stnuclei.errors import MachineError
from stnuclei.training.loop import train
from stnuclei.training.run_file import read_run
from stnuclei.training.walltime import warned_before_the_end


def launch(run: Path, processes: int = 1) -> None:
    """Train as `run` says; under Slurm the run saves and ends before the job's time is up.

    Parameters
    ----------
    run
        JSON or YAML, see `read_run`.
    processes
        How many; each takes one GPU where there are GPUs. The output of all goes where this process's goes.

    Raises
    ------
    UserError
        If the file or the data are wrong, or torchrun ended with an error.
    TrainingStopped
        When asked to stop, with the state saved (one process only; torchrun's status says it otherwise).
    """
    if processes > 1:
        _torchrun(run, processes)
        return
    with warned_before_the_end(os.getpid()):
        train(**read_run(run))


def _knows(option: str) -> bool:
    """Whether this torchrun has an option: ``--shutdown-timeout`` is young (pytorch#172596).

    Older ones kill the processes 30 s after the signal, which may be too short for the last step and for saving.
    """
    from torch.distributed.run import get_args_parser

    return option in get_args_parser().format_help()


def _torchrun(run: Path, processes: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["--signals-to-handle=SIGTERM,SIGINT,SIGUSR1"]
    if _knows("--shutdown-timeout"):
        command += ["--shutdown-timeout=300"]
    # The package may be known to this process by sys.path alone, which children do not inherit.
    package = str(Path(stnuclei.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with (
        subprocess.Popen(
            [*command, "-m", "stnuclei", "train", str(run)],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=sys.stdout,
            stderr=sys.stderr,
        ) as started,
        warned_before_the_end(started.pid),
    ):
        status = started.wait()
    if status:
        raise MachineError(f"torchrun ended with status {status}; what happened stands above in the job's log")

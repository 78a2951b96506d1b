"""Start a run that a file describes: in this process, or by torchrun in several of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

import stnuclei
from stnuclei.cellvit.device import keep_freed_memory
from stnuclei.config.training import TrainSettings
from stnuclei.errors import MachineError, UserError
from stnuclei.loading.sources import Source
from stnuclei.training.loop import train
from stnuclei.training.walltime import warned_before_the_end


def launch(run: Path, processes: int = 1) -> None:
    """Train as `run` says; under Slurm the run saves and ends before the job's time is up.

    Parameters
    ----------
    run
        JSON or YAML, see `read_run`.
    processes
        Number of processes; each takes one GPU where there are GPUs. The output of all goes where this process's goes.

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
    if not torch.cuda.is_available():
        keep_freed_memory()
    with warned_before_the_end(os.getpid()):
        train(**read_run(run))


def _knows(option: str) -> bool:
    """True if this torchrun has an option: ``--shutdown-timeout`` is young (pytorch#172596).

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


KEYS = {"sources", "validation", "out_dir", "settings", "taxonomy", "provenance"}


def read_run(path: str | Path) -> dict[str, Any]:
    """Read a run's description, JSON or YAML, into the arguments of `train`.

    Raises
    ------
    UserError
        If the file is absent, a key is missing or unknown, or a setting is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; it should describe the run (sources, out_dir, settings)")
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: neither JSON nor YAML ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not keys with their values")
    unknown, missing = set(content) - KEYS, {"sources", "out_dir"} - set(content)
    if unknown or missing:
        problems = [f"unknown {', '.join(sorted(unknown))}"] * bool(unknown)
        problems += [f"missing {', '.join(sorted(missing))}"] * bool(missing)
        raise UserError(f"{path}: {' and '.join(problems)}; the keys are {', '.join(sorted(KEYS))}")
    return {
        "sources": _sources(path, "sources", content["sources"]),
        "validation": _sources(path, "validation", content.get("validation") or []),
        "out_dir": content["out_dir"],
        "settings": TrainSettings.from_dict(content.get("settings") or {}),
        "taxonomy": content.get("taxonomy") or "pannuke",
        "provenance": content.get("provenance"),
    }


def _sources(path: Path, key: str, entries: Any) -> list[Source]:
    known = {"patches", "labels"}
    fits = isinstance(entries, list) and all(isinstance(e, dict) and {"patches"} <= e.keys() <= known for e in entries)
    if not fits:
        raise UserError(f"{path}: {key} must be a list of {{patches: STORE, labels: TABLE}} (labels may be left out)")
    return [Source(**entry) for entry in entries]

"""Start the same Snakemake command again after it has ended.

Snakemake makes its plan before the first job, and a failed job cannot change it: what depends on a sample that failed
is never begun. A second process of the same command, which knows that the sample is left out, plans without it.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterable
from pathlib import Path

#: Snakemake's words when a person or the cluster ended it; nothing is started again then.
_ENDED_FROM_OUTSIDE = ("Terminating processes on user request", "Will exit after finishing currently running jobs")


def may_start_again(logs: Iterable[str]) -> bool:
    """True if this process is the command `snakemake` itself, and nobody asked it to end.

    Parameters
    ----------
    logs
        Paths of Snakemake's logs of this run.
    """
    of_snakemake = Path(sys.argv[0]).name in ("snakemake", "__main__.py")
    return of_snakemake and not any(words in Path(log).read_text() for log in logs for words in _ENDED_FROM_OUTSIDE)


def start_again_at_exit() -> None:
    """Replace this process by the same command when it ends: by then Snakemake has given its lock back."""
    atexit.register(_start_again)


def _start_again() -> None:
    atexit.unregister(_start_again)
    atexit._run_exitfuncs()  # what others registered: temporary folders are removed, logs closed
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

"""What every job does with its log: write everything there, and tell a user's mistake in one sentence."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stnuclei.errors import UserError
from stnuclei.files import disk_full

FULL = "the disk is full or the quota used up; free space and run again, what is finished is kept"


@contextmanager
def job(log: str | Path, name: str = "") -> Iterator[None]:
    """Send what the block prints to `log`; end the program with one sentence on a `UserError`.

    Parameters
    ----------
    log
        The job's log file, truncated.
    name
        Said before the sentence: the rule and its sample.

    Raises
    ------
    SystemExit
        Status 1, after a `UserError` (its sentence), a full disk (a sentence) or any other exception (its traceback)
        was written to the log; the sentence, or the last line of the traceback, also goes to the terminal.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    terminal_out, terminal_err = sys.stdout, sys.stderr
    with open(log, "w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        try:
            yield
        except UserError as error:
            _tell(file, terminal_err, name, str(error))
            raise SystemExit(1) from None
        except Exception as error:  # noqa: BLE001 a job ends here whatever it was, and its log holds the traceback
            if disk_full(error):
                _tell(file, terminal_err, name, FULL)
                raise SystemExit(1) from None
            traceback.print_exc(file=file)
            _tell(file, terminal_err, name, f"{type(error).__name__}: {error} (traceback in {log})")
            raise SystemExit(1) from None
        finally:
            sys.stdout, sys.stderr = terminal_out, terminal_err


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keep a library's warnings, and what its logger says below an error, out of the job's log."""
    theirs = logging.getLogger(logger)
    level = theirs.level
    theirs.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.setLevel(level)


def _tell(log, terminal, name: str, sentence: str) -> None:  # noqa: ANN001 text streams
    # Many sentences begin with the sample already, as the job's name does.
    told = sentence if not name or sentence.startswith(f"{name}:") else f"{name}: {sentence}"
    for stream in (log, terminal):
        print(told, file=stream, flush=True)

"""Log of a job: everything it prints goes there, a user's mistake ends in one sentence."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from stnuclei.disk import disk_full
from stnuclei.errors import MachineError, UserError

T = TypeVar("T")
#: Line of a log above a sentence that another try would end with again; `sentence_of` looks for it.
REFUSED = "(not tried again: what follows has to be corrected first)"
FULL = "the disk is full or the quota used up; free space and run again, what is finished is kept"


@contextmanager
def job(log: str | Path, name: str = "") -> Iterator[None]:
    """Send what the block prints to `log`; end the program with one sentence on a `UserError`.

    Parameters
    ----------
    log
        The job's log file, truncated.
    name
        Begins the sentence: the rule and its sample.

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
            if not isinstance(error, MachineError):
                print(REFUSED, file=file, flush=True)
            _report(file, terminal_err, name, str(error))
            raise SystemExit(1) from None
        except Exception as error:  # noqa: BLE001 a job ends here whatever it was, and its log holds the traceback
            if disk_full(error):
                _report(file, terminal_err, name, FULL)
                raise SystemExit(1) from None
            traceback.print_exc(file=file)
            _report(file, terminal_err, name, f"{type(error).__name__}: {error} (traceback in {log})")
            raise SystemExit(1) from None
        finally:
            sys.stdout, sys.stderr = terminal_out, terminal_err


def sentence_of(log: str | Path, since: float = 0.0) -> str:
    """Sentence on the user's mistake that ended a job.

    Parameters
    ----------
    log
        The job's log, see `job`.
    since
        Logs written before it do not count, s as `time.time`.

    Returns
    -------
    The sentence; empty where the job ended otherwise, was killed, or has no log.
    """
    path = Path(log)
    try:
        if path.stat().st_mtime < since:
            return ""
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - (64 << 10)))
            _, marked, sentence = file.read().decode(errors="replace").partition(f"{REFUSED}\n")
    except OSError:
        return ""
    return sentence.strip() if marked else ""


def job_device(resources: Mapping[str, Any], wanted: T) -> T | str:
    """Device of a job: ``cpu`` where it has no GPU (`resources.gpu: 0`), else what its settings say.

    A resource, not a parameter of the rule: another device is no reason to run a job again.
    """
    return wanted if resources.get("gpu", 0) else "cpu"


@contextmanager
def without_messages(logger: str) -> Iterator[None]:
    """Keep everything that a library logs out of the job's log: its errors are raised as well."""
    library = logging.getLogger(logger)
    level = library.level
    library.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        library.setLevel(level)


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keep a library's warnings, and messages of its logger below an error, out of the job's log."""
    library = logging.getLogger(logger)
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.setLevel(level)


def _report(log: TextIO, terminal: TextIO, name: str, sentence: str) -> None:
    # Many sentences begin with the sample already, as the job's name does.
    line = sentence if not name or sentence.startswith(f"{name}:") else f"{name}: {sentence}"
    for stream in (log, terminal):
        print(line, file=stream, flush=True)

"""Attempts of a call in forked processes, and the faults they meet."""

import contextlib
import io
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stnuclei import disk, files
from stnuclei.errors import UserError

#: Calls that change a name on disk; a job is killed before each and, by the next one, after each.
CALLS = ("replace", "rename", "link", "unlink", "rmdir", "mkdir")
SENTENCE, CRASH, STOPPED = 3, 4, 75

Call = Callable[[], object]


def attempt(call: Call, output: Path) -> int:
    """Call in a forked process: 0, `SENTENCE` for a user's sentence, `CRASH` for anything else, or minus the signal."""
    return _status(_start(call, output))


def _start(call: Call, output: Path) -> int:
    """Process number of a fork that does the call."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = CRASH
        try:
            status = _attempt(call, output)
        finally:
            # Whatever happens, the child never goes on as if it were the drill.
            os._exit(status)
    return child


def _status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _attempt(call: Call, output: Path) -> int:
    status, said = 0, io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            call()
        except UserError as error:
            print(error)
            status = SENTENCE
        except SystemExit as left:
            # `stnuclei.joblog` ended the job: with a sentence on the terminal, or with one that names the traceback.
            wordless = "(traceback in" in said.getvalue() or not said.getvalue().strip()
            status = left.code if left.code in (0, STOPPED) else CRASH if wordless else SENTENCE
        except BaseException as error:  # noqa: BLE001 as Snakemake would see it: a full disk is said in a sentence
            traceback.print_exc()
            status = SENTENCE if disk.disk_full(error) else CRASH
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    output.write_text(said.getvalue())
    return status


def counting(call: Call, before: Callable[[int, bool], None]) -> Call:
    """The call in a process that says before each change of a name on disk its number, counted from 0.

    The second argument of `before` is True inside a temporary folder, which no reader sees.
    """

    def counted() -> object:
        count = 0

        def watched(original: Callable[..., object]) -> Callable[..., object]:
            def wrapped(*words: object, **more: object) -> object:
                nonlocal count
                if original.__name__ != "mkdir" or more or not os.path.isdir(str(words[0])):
                    # Names relative to an open folder are those of a tree that is being removed.
                    name = words[0] if original.__name__ == "mkdir" else words[-1]
                    hidden = bool(more) or ".partial-" in os.path.dirname(str(name))
                    before(count, hidden)
                    count += 1
                return original(*words, **more)

            return wrapped

        for name in CALLS:
            setattr(os, name, watched(getattr(os, name)))
        files._exchange = watched(files._exchange)
        return call()

    return counted


def changes(call: Call, output: Path, most: int) -> list[int]:
    """Numbers of the changes of a name that a call makes: all, but of those in temporary folders `most` at most."""
    seen: list[bool] = []

    def counted() -> object:
        counting(call, lambda number, hidden: seen.append(hidden))()
        return print("".join("01"[hidden] for hidden in seen))

    status = attempt(counted, output)
    assert status == 0, output.read_text()
    marks = np.array(list(output.read_text().split()[-1]))
    hidden = np.flatnonzero(marks == "1")
    chosen = hidden[np.unique(np.linspace(0, max(len(hidden) - 1, 0), most).astype(int))] if len(hidden) else hidden
    return sorted([*np.flatnonzero(marks == "0").tolist(), *chosen.tolist()])


def killing(call: Call, number: int) -> Call:
    """The call in a process that is killed before its `number`-th change of a name on disk."""
    return counting(call, lambda now, hidden: os.kill(os.getpid(), signal.SIGKILL) if now == number else None)


def limited(call: Call, size: int) -> Call:
    """The call in a process whose files may have no more than so many bytes: a write then fails as on a full disk."""

    def full() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return call()

    return full


def terminated(call: Call, output: Path, after: float) -> tuple[int, float]:
    """Status of a call that gets SIGTERM after so many seconds, and the seconds it then took to end."""
    child = _start(call, output)
    time.sleep(after)
    begin = time.monotonic()
    os.kill(child, signal.SIGTERM)
    return _status(child), time.monotonic() - begin


def together(calls: list[Call], outputs: list[Path]) -> list[int]:
    """Statuses of calls that run at the same time."""
    return [_status(child) for child in [_start(*pair) for pair in zip(calls, outputs, strict=True)]]

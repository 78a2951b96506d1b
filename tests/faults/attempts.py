"""Calls in processes of their own, and what came of them."""

import contextlib
import io
import os
import resource
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stnuclei import files
from stnuclei.errors import UserError

#: Exit statuses: a user's sentence, anything else that went wrong.
SENTENCE, CRASH = 3, 4


@dataclass(frozen=True)
class Row:
    """Row of the table; `wrong` counts outcomes that must not be."""

    stage: str
    fault: str
    outcome: str
    wrong: int


def attempt(call: Callable[[], object], output: Path) -> int:
    """Call in a forked process: 0, `SENTENCE` for a user's sentence, `CRASH` for anything else, or minus the signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = CRASH
        try:
            status = run_attempt(call, output)
        finally:
            # Whatever happens, the child never goes on as if it were the drill.
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_attempt(call: Callable[[], object], output: Path) -> int:
    """Call; the status, with what was printed in a file."""
    status, said = 0, io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            call()
        except UserError as error:
            print(error)
            status = SENTENCE
        except Exception as error:  # noqa: BLE001 the job's log says a full disk in a sentence, all else is a traceback
            traceback.print_exc()
            status = SENTENCE if files.disk_full(error) else CRASH
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    output.write_text(said.getvalue())
    return status

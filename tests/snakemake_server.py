"""Snakemake for the tests, each run a fork of one process that has imported it: 1.5 of the 2.5 CPU s of a dry run.

A line of JSON in is a run: folder, environment, arguments, and the files that get its output and errors. A line out is
its exit status. With `--fork-scripts` jobs are forks too, see forked_scripts.py.
"""

import json
import os
import sys
import traceback
from typing import Any

import jinja2  # noqa: F401 imported for the forks, as pydantic is
import pydantic  # noqa: F401
from snakemake.cli import main

from forked_scripts import fork_scripts


def run(folder: str, environment: dict[str, str], arguments: list[str], output: str, errors: str) -> int:
    """Do in this process what ``python -m snakemake`` does in a new one."""
    for stream, path in ((1, output), (2, errors)):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), stream)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = ["snakemake", *arguments]
    try:
        main(arguments)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def fork(request: dict[str, Any]) -> int:
    """Exit status of a run in a forked process."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run(**request)
        except Exception:  # noqa: BLE001 what an interpreter would do at its end
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    if "--fork-scripts" in sys.argv:
        fork_scripts()
    for line in sys.stdin:
        status = fork(json.loads(line))
        print(status, flush=True)

"""Run snakemake as a user does: its command line, in a process and a folder of its own."""

import atexit
import functools
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT


@dataclass
class Run:
    """What one call of snakemake gave back."""

    code: int
    text: str


@dataclass
class Workflow:
    """The checkout's workflow in a working folder of its own."""

    folder: Path
    snakefile: Path = ROOT / "Snakefile"
    #: Jobs are forks of a process that has imported their libraries, see forked_scripts.py.
    fork_scripts: bool = False

    def run(self, *arguments: str, check: bool = True, timeout: float = 1500, fresh: bool = False) -> Run:
        """Run; `fresh`: in an interpreter of its own, for what happens when the program ends."""
        environment = {**os.environ, "PYTHONPATH": "", "XDG_CACHE_HOME": str(self.folder / ".cache")}
        arguments = ("--snakefile", str(self.snakefile), *arguments)
        with tempfile.TemporaryDirectory() as said:
            output, errors = (Path(said) / name for name in ("output", "errors"))
            request = {"folder": str(self.folder), "environment": environment, "output": str(output)}
            request |= {"errors": str(errors), "arguments": [*arguments]}
            code = start(request, timeout) if fresh else ask(request, timeout, self.fork_scripts)
            text = output.read_text() + errors.read_text()
        assert not check or code == 0, text[-6000:]
        return Run(code, text)

    def refusal(self, *arguments: str) -> str:
        """Text of a run that a user's mistake ends: in sentences, not in a traceback."""
        run = self.run(*arguments, check=False)
        assert run.code != 0 and "Traceback" not in run.text, run.text[-6000:]
        return run.text


def start(request: dict, timeout: float) -> int:
    """Exit status of one run in a new interpreter."""
    with open(request["output"], "wb") as output, open(request["errors"], "wb") as errors:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *request["arguments"]],
            cwd=request["folder"],
            env=request["environment"],
            stdout=output,
            stderr=errors,
            timeout=timeout,
            check=False,
        )
    return done.returncode


@functools.cache
def server(fork_scripts: bool) -> subprocess.Popen:
    """The process that forks the runs, see snakemake_server.py."""
    command = [sys.executable, str(ROOT / "tests" / "snakemake_server.py")]
    command += ["--fork-scripts"] if fork_scripts else []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
    atexit.register(started.kill)
    return started


def ask(request: dict[str, object], timeout: float, fork_scripts: bool) -> int:
    """Exit status of one run; after `timeout` seconds it is killed with all it started."""
    running = server(fork_scripts)
    running.stdin.write(json.dumps(request) + "\n")
    running.stdin.flush()
    if select.select([running.stdout], [], [], timeout)[0]:
        return int(running.stdout.readline())
    os.killpg(running.pid, signal.SIGKILL)
    server.cache_clear()
    raise TimeoutError(f"snakemake {request['arguments']} did not end in {timeout} s")


def count(text: str, rule: str) -> int:
    """Jobs of a rule by a dry run's table: the rule, their number, what they do."""
    found = re.search(rf"^{rule}\s+(\d+)(?:  |$)", text, flags=re.MULTILINE)
    return int(found.group(1)) if found else 0

"""The one-node Slurm of the tests, and snakemake running on it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT
from runner import Run

#: What this cluster lacks, and shorter waits; all else is the shipped profile.
OPTIONS = ["--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "2"]


def wait_for(what: Callable[[], object], seconds: float = 300, step: float = 0.1) -> object:
    """Wait until `what` gives something that is true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(step)
    raise AssertionError(f"{what} did not come true in {seconds} s")


@dataclass
class Cluster:
    """Commands of the cluster."""

    script: Path

    def ask(self, *command: str) -> str:
        """Output of a Slurm command."""
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def control(self, what: str) -> None:
        """Start or stop a part of the cluster: see one_node.sh."""
        subprocess.run([self.script, what], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def jobs(self, folder: Path, states: str = "all") -> dict[str, tuple[str, str]]:
        """Job id -> (state, comment: rule and wildcards) of the jobs that were submitted from `folder`."""
        lines = self.ask("squeue", "--noheader", f"--states={states}", "--format=%i|%T|%k|%Z").splitlines()
        rows = [line.split("|") for line in lines]
        return {row[0]: (row[1], row[2]) for row in rows if Path(row[3]) == folder}

    def command(self, *arguments: str) -> list[str]:
        """Snakemake with the shipped profile on this cluster."""
        program = ROOT / "tests" / "slurm" / "impatient_snakemake.py"
        command = [sys.executable, str(program), "--snakefile", str(ROOT / "Snakefile")]
        command += ["--workflow-profile", str(ROOT / "profiles" / "slurm"), *OPTIONS, "--latency-wait", "10"]
        return [*command, *arguments]

    def begin(self, folder: Path, *arguments: str) -> subprocess.Popen:
        """Start snakemake; what it says goes to said.txt."""
        with open(folder / "said.txt", "w") as said:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def workflow(self, folder: Path, *arguments: str, timeout: float = 1500) -> Run:
        """Run snakemake to its end."""
        running = self.begin(folder, *arguments)
        try:
            code = running.wait(timeout)
        except subprocess.TimeoutExpired:
            running.kill()
            raise AssertionError((folder / "said.txt").read_text()[-6000:]) from None
        return Run(code, (folder / "said.txt").read_text())


def environment(folder: Path) -> dict[str, str]:
    """Environment of a user: nothing of this test's own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": "", "XDG_CACHE_HOME": str(folder / ".cache")}


def pids(folder: Path, script: str) -> list[int]:
    """Processes that run a rule's script for the workflow in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.startswith(str(folder)) and word.endswith(script) for word in words):
            found.append(int(path.parent.name))
    return found

"""Run snakemake as a user does: the program, from a folder of its own."""

import os
import re
import subprocess
import sys
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

    def run(self, *arguments: str, check: bool = True, timeout: float = 1500) -> Run:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.snakefile), *arguments]
        environment = {**os.environ, "PYTHONPATH": "", "XDG_CACHE_HOME": str(self.folder / ".cache")}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        text = done.stdout + done.stderr
        assert not check or done.returncode == 0, text[-6000:]
        return Run(done.returncode, text)


def count(text: str, rule: str) -> int:
    """Jobs of a rule by a dry run's table: the rule, their number, what they do."""
    found = re.search(rf"^{rule}\s+(\d+)(?:  |$)", text, flags=re.MULTILINE)
    return int(found.group(1)) if found else 0

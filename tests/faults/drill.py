"""Fault drill: every stage killed at every write, out of disk, damaged, and run twice at once; prints a table.

``python -m faults.drill`` (from ``tests``; ``make test-faults``) prints the table and writes the rows of the stages
that were run into docs/reliability.md. Each attempt is a process forked from this one, which has imported everything
and started no thread; a fault in it is a fault of a job.
"""

import argparse
import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.stages import STAGES, Stage
from paths import ROOT
from stnuclei import files
from stnuclei.errors import UserError

#: Calls that change a name on disk; a job is killed before each and, by the next one, after each.
CALLS = ("replace", "rename", "link", "unlink", "rmdir", "mkdir")
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
            status = _attempt(call, output)
        finally:
            # Whatever happens, the child never goes on as if it were the drill.
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _attempt(call: Callable[[], object], output: Path) -> int:
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


def killing(call: Callable[[], object], number: int) -> Callable[[], object]:
    """The call in a process that is killed before its `number`-th change of a name on disk, counted from 0."""

    def killed() -> object:
        count = 0

        def counted(original: Callable[..., object]) -> Callable[..., object]:
            def wrapped(*words: object, **more: object) -> object:
                nonlocal count
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return original(*words, **more)

            return wrapped

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        files._exchange = counted(files._exchange)
        return call()

    return killed


def limited(call: Callable[[], object], size: int) -> Callable[[], object]:
    """The call in a process whose files may have no more than so many bytes: a write then fails as on a full disk."""

    def full() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return call()

    return full


class Drill:
    """The faults of one stage."""

    def __init__(self, name: str, stage: Stage, folder: Path, quick: bool) -> None:
        self.name, self.stage, self.folder, self.quick = name, stage, folder, quick
        self.inputs, self.log = folder / "inputs", folder / "log"
        self.inputs.mkdir(parents=True)
        assert attempt(lambda: stage.make(self.inputs), self.log) == 0, self.log.read_text()
        self.expected = self._made(self.folder / "undisturbed")
        assert len(self.expected) == 64, self.log.read_text()

    def _run(self, out: Path) -> Callable[[], object]:
        return lambda: self.stage.run(self.inputs, out)

    def _read(self, out: Path) -> str:
        """Hash of what the next stage reads, ``sentence`` where it refuses, or ``crash``."""
        status = attempt(lambda: print(self.stage.content(out)), self.log)
        if status == 0:
            return self.log.read_text().split()[-1]
        return "sentence" if status == SENTENCE else self._traceback()

    def _traceback(self) -> str:
        lines = self.log.read_text().strip().splitlines()
        return f"traceback ({lines[-1][:100] if lines else 'no word'})"

    def _made(self, out: Path) -> str:
        status = attempt(self._run(out), self.log)
        return self._read(out) if status == 0 else "sentence" if status == SENTENCE else "crash"

    def rows(self) -> Iterator[Row]:
        """All faults of the stage."""
        yield self.killed()
        yield self.full()
        yield from (self.damaged(fault) for fault in ("one byte changed", "cut short"))
        yield self.twice()

    def _row(self, fault: str, outcomes: Counter[str], right: set[str]) -> Row:
        wrong = sum(number for outcome, number in outcomes.items() if outcome not in right)
        return Row(self.name, fault, ", ".join(f"{number} x {outcome}" for outcome, number in outcomes.items()), wrong)

    def killed(self) -> Row:
        """SIGKILL before every change of a name, then the same call again."""
        outcomes: Counter[str] = Counter()
        for number in range(10_000):
            out = self.folder / "killed"
            if attempt(killing(self._run(out), number), self.log) != -signal.SIGKILL:
                break
            same = self._made(out) == self.expected
            outcomes["restart gives the same content" if same else "restart fails"] += 1
            for path in out.rglob(".partial-*"):
                outcomes[f"{path.parent.name}/.partial-{path.name.split('-', 2)[2]} stays after the restart"] += 1
            shutil.rmtree(out)
        return self._row("SIGKILL at every write", outcomes, {"restart gives the same content"})

    def full(self) -> Row:
        """A full disk at several sizes of file, then the same call again with space."""
        outcomes: Counter[str] = Counter()
        largest = max(path.stat().st_size for path in (self.folder / "undisturbed").rglob("*") if path.is_file())
        for size in np.unique(np.geomspace(64, largest - 1, 3 if self.quick else 8).astype(int)).tolist():
            out = self.folder / "full"
            status = attempt(limited(self._run(out), size), self.log)
            if status == SENTENCE:
                same = self._made(out) == self.expected
                outcomes["a sentence, restart gives the same content" if same else "restart fails"] += 1
            else:
                outcomes["succeeds" if status == 0 else self._traceback()] += 1
            shutil.rmtree(out, ignore_errors=True)
        return self._row("disk full", outcomes, {"a sentence, restart gives the same content", "succeeds"})

    def damaged(self, fault: str) -> Row:
        """A byte of the output changed or its end lost; then the next stage reads it."""
        outcomes: Counter[str] = Counter()
        random = np.random.default_rng(0)
        whole = [self.folder / "undisturbed" / name for name in self.stage.data]
        found = [file for path in whole for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
        candidates = [file for file in found if file.is_file() and file.stat().st_size]
        for number in range(8 if self.quick else 40):
            file = candidates[number % len(candidates)]
            content = bytearray(file.read_bytes())
            place = int(random.integers(len(content)))
            changed = content[:place] if fault == "cut short" else content
            if fault != "cut short":
                changed = bytearray(content)
                changed[place] ^= 1 << int(random.integers(8))
            # The undisturbed output is put back each time; the file may have other names by hard links.
            file.unlink()
            file.write_bytes(changed)
            read = self._read(self.folder / "undisturbed")
            file.write_bytes(content)
            words = {self.expected: "read right", "sentence": "a sentence"}
            outcomes[words.get(read, read if read.startswith("traceback") else "WRONG CONTENT")] += 1
        return self._row(f"{fault} in {', '.join(self.stage.data)}", outcomes, {"read right", "a sentence"})

    def twice(self) -> Row:
        """Two processes at once into one folder."""
        out, children = self.folder / "twice", []
        for number in range(2):
            child = os.fork()
            if child == 0:
                os._exit(attempt(self._run(out), self.folder / f"log{number}"))
            children.append(child)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        right = all(status in (0, SENTENCE) for status in statuses) and self._made(out) == self.expected
        words = {0: "finished", SENTENCE: "a sentence"}
        outcome = " and ".join(words.get(status, "traceback") for status in sorted(statuses))
        return Row(
            self.name, "two at once in one folder", f"{outcome}; the content is right" if right else outcome, not right
        )


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| stage | fault | outcome |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.stage} | {row.fault} | {row.outcome} |" for row in rows)])


def drill(stages: list[str], folder: Path, quick: bool = False) -> list[Row]:
    """Rows of some stages, printed as they come."""
    rows = []
    for number, name in enumerate(stages):
        for row in Drill(name, STAGES[name], folder / str(number), quick).rows():
            print(f"{'ok   ' if not row.wrong else 'WRONG'} {row.stage}: {row.fault}: {row.outcome}", flush=True)
            rows.append(row)
    return rows


def write_page(page: Path, rows: list[Row]) -> None:
    """Put the rows into the page's table, in the place of those of the same stages."""
    begin, end = "<!-- table of the drill -->", "<!-- end of the table -->"
    head, rest = page.read_text().split(begin)
    old, tail = rest.split(end)
    drilled = {row.stage for row in rows}
    kept = [line.strip("| ").split(" | ") for line in old.splitlines() if line.startswith("| ") and "---" not in line]
    others = [Row(*cells, 0) for cells in kept if cells[0] in STAGES and cells[0] not in drilled]
    ordered = sorted([*others, *rows], key=lambda row: list(STAGES).index(row.stage))
    page.write_text(f"{head}{begin}\n{table(ordered)}\n{end}{tail}")


def main() -> int:
    """Run the drill; status 1 where an outcome must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", help=f"some of {', '.join(STAGES)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and bytes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = drill(options.stages or list(STAGES), Path(folder), options.quick)
    if not options.quick:
        write_page(ROOT / "docs" / "reliability.md", rows)
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())

"""Fault drill: every stage killed at every write, stopped, out of disk, damaged, run twice at once; prints a table.

``python -m faults.drill`` (from ``tests``; ``make test-faults``) prints the table and writes the rows of the stages
that were run into docs/reliability.md. Each attempt is a process forked from this one, which has imported everything
and started no thread; a fault in it is a fault of a job.
"""

import argparse
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.attempts import CRASH, SENTENCE, Call, attempt, changes, killing, limited, terminated, together
from faults.jobs import Stage
from faults.model_stages import MODEL_STAGES
from faults.other_drills import OTHERS
from faults.rows import Place, Row, write_page
from faults.slide_stages import SLIDE_STAGES
from forked_scripts import preload
from paths import ROOT

STAGES = SLIDE_STAGES | MODEL_STAGES
SAME = "restart gives the same content"


@dataclass(frozen=True)
class Repeats:
    """How often each fault is tried."""

    sizes: int = 4
    bytes: int = 12
    signals: int = 4
    #: Kills inside a temporary folder; kills at names that a reader sees are all tried.
    hidden: int = 6
    #: Damaged places of a stage's inputs together, two of each input at least.
    inputs: int = 6


QUICK = Repeats(3, 8, 2, 4, 4)


class Drill:
    """The faults of one stage; its undisturbed output stays in `base`, for the stages after it."""

    def __init__(self, name: str, stage: Stage, base: Path, repeats: Repeats) -> None:
        self.name, self.stage, self.base, self.repeats = name, stage, base, repeats
        self.out, self.work, self.log = base / name, base / "work", base / "log"
        if stage.make is not None:
            given = base / f"{name}.inputs"
            given.mkdir()
            assert attempt(lambda: stage.make(given), self.log) == 0, self.log.read_text()
        begin = time.monotonic()
        self.expected = self._made(self.out)
        self.seconds = time.monotonic() - begin
        assert len(self.expected) == 64, f"{name}: {self.expected}: {self.log.read_text()}"

    def _run(self, out: Path) -> Call:
        return lambda: self.stage.run(self.base, out)

    def _read(self, out: Path) -> str:
        """Hash of what the next stage reads, ``sentence`` where it refuses, or ``traceback ...``."""
        return self._words(attempt(lambda: print(self.stage.content(out)), self.log))

    def _words(self, status: int) -> str:
        lines = self.log.read_text().strip().splitlines() or ["no word"]
        if status == 0:
            return lines[-1]
        return "sentence" if status == SENTENCE else f"traceback ({lines[-1][:100]})"

    def _made(self, out: Path) -> str:
        """Hash of what the stage makes, or how it ended."""
        status = attempt(self._run(out), self.log)
        return self._read(out) if status == 0 else self._words(status)

    def rows(self) -> Iterator[Row]:
        """All faults of the stage."""
        yield self.killed()
        yield self.stopped()
        yield self.full()
        if self.stage.data:
            yield from (self.damaged(fault) for fault in ("one byte changed", "cut short"))
        if self.stage.inputs:
            yield from (self.inputs_damaged(fault) for fault in ("one byte changed", "cut short"))
        yield self.twice()

    def _row(self, fault: str, outcomes: Counter[str], right: set[str]) -> Row:
        wrong = sum(number for outcome, number in outcomes.items() if outcome not in right)
        return Row(self.name, fault, ", ".join(f"{number} x {outcome}" for outcome, number in outcomes.items()), wrong)

    def _restarted(self, out: Path) -> list[str]:
        """What the same call made after a fault, and temporary files that stay."""
        made = self._made(out)
        outcomes = [SAME if made == self.expected else f"restart fails: {made}"]
        for path in out.rglob(".partial-*"):
            outcomes.append(f"{path.parent.name}/.partial-{path.name.split('-', 2)[2]} stays after the restart")
        shutil.rmtree(out)
        return outcomes

    def killed(self) -> Row:
        """SIGKILL before every change of a name, then the same call again."""
        outcomes: Counter[str] = Counter()
        numbers = changes(self._run(self.work), self.log, self.repeats.hidden)
        shutil.rmtree(self.work)
        for number in numbers:
            # The jobs' threads may change names in another order: then the last numbers are not reached.
            if attempt(killing(self._run(self.work), number), self.log) == -signal.SIGKILL:
                outcomes.update(self._restarted(self.work))
            shutil.rmtree(self.work, ignore_errors=True)
        return self._row("SIGKILL at every write", outcomes, {SAME})

    def stopped(self) -> Row:
        """SIGTERM at random times, then the same call again; the longest time to end, s."""
        outcomes: Counter[str] = Counter()
        random, longest = np.random.default_rng(0), 0.0
        for after in random.uniform(0, self.seconds, self.repeats.signals):
            status, seconds = terminated(self._run(self.work), self.log, after)
            longest = max(longest, seconds)
            if status == CRASH or seconds > 60:
                outcomes[f"ends by {self._words(status)} after {seconds:.1f} s"] += 1
            self.work.mkdir(exist_ok=True)
            outcomes.update(self._restarted(self.work))
        return self._row(f"SIGTERM, ended in {np.ceil(10 * longest) / 10:.1f} s at most", outcomes, {SAME})

    def full(self) -> Row:
        """A full disk at several sizes of file, then the same call again with space."""
        outcomes: Counter[str] = Counter()
        largest = max(path.stat().st_size for path in self.out.rglob("*") if path.is_file())
        for size in np.unique(np.geomspace(64, largest - 1, self.repeats.sizes).astype(int)).tolist():
            status = attempt(limited(self._run(self.work), size), self.log)
            said = self._words(status)
            same = self._made(self.work) == self.expected
            end = {0: "succeeds", SENTENCE: "a sentence"}.get(status, said)
            outcomes[f"{end}, {SAME}" if same else f"{end}, restart fails"] += 1
            shutil.rmtree(self.work, ignore_errors=True)
        return self._row("disk full", outcomes, {f"a sentence, {SAME}", f"succeeds, {SAME}"})

    def damaged(self, fault: str) -> Row:
        """A byte of the output changed or its end lost; then the next stage reads it."""
        outcomes: Counter[str] = Counter()
        for place in self._places([self.out / name for name in self.stage.data], self.repeats.bytes):
            with place.broken(fault):
                read = self._read(self.out)
            words = {self.expected: "read right", "sentence": "a sentence"}
            outcomes[words.get(read, read if read.startswith("traceback") else "WRONG CONTENT")] += 1
        return self._row(f"{fault} in {', '.join(self.stage.data)}", outcomes, {"read right", "a sentence"})

    def inputs_damaged(self, fault: str) -> Row:
        """A byte of an input changed or its end lost; then the stage runs."""
        outcomes: Counter[str] = Counter()
        for name, checked in self.stage.inputs.items():
            for place in self._places([self.base / name], max(2, self.repeats.inputs // len(self.stage.inputs))):
                with place.broken(fault):
                    made = self._made(self.work)
                shutil.rmtree(self.work, ignore_errors=True)
                other = "WRONG CONTENT" if checked else "another content, which nothing in the file shows"
                words = {self.expected: "the same content", "sentence": "a sentence"}
                outcomes[words.get(made, made if made.startswith("traceback") else other)] += 1
        right = {"the same content", "a sentence", "another content, which nothing in the file shows"}
        return self._row(f"{fault} in its inputs", outcomes, right)

    def _places(self, paths: list[Path], number: int) -> Iterator[Place]:
        random = np.random.default_rng(0)
        found = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
        files = [file for file in found if file.is_file() and file.stat().st_size]
        # More files than places: some of all kinds.
        order = random.permutation(len(files)) if len(files) > number else np.arange(len(files))
        for k in range(number):
            file = files[order[k % len(files)]]
            yield Place(file, int(random.integers(file.stat().st_size)), int(random.integers(8)))

    def twice(self) -> Row:
        """Two processes at once into one folder."""
        logs = [self.base / f"log{number}" for number in range(2)]
        statuses = together([self._run(self.work)] * 2, logs)
        right = all(status in (0, SENTENCE) for status in statuses) and self._made(self.work) == self.expected
        said = [log.read_text().strip().splitlines()[-1:] for log in logs]
        shutil.rmtree(self.work, ignore_errors=True)
        words = {0: "finished", SENTENCE: "a sentence"}
        outcome = " and ".join(words.get(status, "traceback") for status in sorted(statuses))
        fault = "two at once in one folder"
        return Row(self.name, fault, f"{outcome}; the content is right" if right else f"{outcome}: {said}", not right)


def drill(names: list[str], folder: Path, repeats: Repeats) -> Iterator[list[Row]]:
    """Rows of some stages, a stage at a time, printed as they come; stages they need are run without faults."""
    needed = {need for name in names if name in STAGES for need in STAGES[name].needs}
    for name, stage in STAGES.items():
        if name not in needed and name not in names:
            continue
        drilled = Drill(name, stage, folder, repeats)
        if name in names:
            yield [_told(row) for row in drilled.rows()]
    for name in names:
        if name in OTHERS:
            (folder / f"{name}.others").mkdir()
            yield [_told(row) for row in OTHERS[name](folder / f"{name}.others")]


def _told(row: Row) -> Row:
    print(f"{'WRONG' if row.wrong else 'ok   '} {row.stage}: {row.fault}: {row.outcome}", flush=True)
    return row


def main() -> int:
    """Run the drill; status 1 where an outcome must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*STAGES, *OTHERS]
    parser.add_argument("stages", nargs="*", help=f"some of {', '.join(known)}; all where none is named")
    parser.add_argument(
        "--quick", action="store_true", help="fewer sizes, bytes and signals; the page is left as it is"
    )
    options = parser.parse_args()
    preload()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for of_stage in drill(options.stages or known, Path(folder), QUICK if options.quick else Repeats()):
            rows += of_stage
            if not options.quick:
                write_page(ROOT / "docs" / "reliability.md", of_stage, known)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    minutes = sum(usage.ru_utime + usage.ru_stime for usage in used) / 60
    print(f"{len(rows)} rows, {sum(bool(row.wrong) for row in rows)} wrong, {minutes:.1f} minutes of CPU")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())

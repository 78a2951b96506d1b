"""Fuzz corpus: good inputs broken by seeded mutations; each must be read right or refused with a sentence.

``python -m fuzz.corpus --count 3000`` (from ``tests``) runs longer than the 300 of the tests. A mutation decides what
is right: a file with checksums is read as it was written or refused; numbers replaced by words are refused; of other
changes only that they end in time, in memory and without a traceback.
"""

import argparse
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from fuzz.targets import TARGETS, Target
from stnuclei.errors import UserError

SECONDS, MEMORY = 60, 3 << 30
SENTENCE, CRASH, WRONG = 3, 4, 5
#: Not numbers of an alignment, whoever reads them.
WORDS = ("x", "nan", "1e999", "", "--1", "0x1p")


def mutate(content: bytes, target: Target, random: np.random.Generator) -> tuple[bytes, str]:
    """A mutation of a file's bytes and its name."""
    ways = ["bit", "bytes", "cut", "double", "empty", "zeros"]
    if target.text:
        ways += ["line lost", "line twice", "field lost", "word", "letters", "utf-16", "long line"]
    if target.numbers:
        ways += ["no number"] * 3
    way = str(random.choice(ways))
    return _MUTATIONS[way](bytearray(content), random), way


def _place(content: bytearray, random: np.random.Generator) -> int:
    return int(random.integers(max(len(content), 1)))


def _bit(content: bytearray, random: np.random.Generator) -> bytes:
    content[_place(content, random)] ^= 1 << int(random.integers(8))
    return bytes(content)


def _bytes(content: bytearray, random: np.random.Generator) -> bytes:
    at = _place(content, random)
    content[at : at + 16] = random.bytes(16)
    return bytes(content)


def _double(content: bytearray, random: np.random.Generator) -> bytes:
    begin, end = sorted((_place(content, random), _place(content, random)))
    return bytes(content[:end] + content[begin:end] + content[end:])


def _zeros(content: bytearray, random: np.random.Generator) -> bytes:
    at = _place(content, random)
    content[at : at + 64] = bytes(len(content[at : at + 64]))
    return bytes(content)


def _lines(content: bytearray, random: np.random.Generator, twice: bool) -> bytes:
    lines = bytes(content).splitlines(keepends=True)
    k = int(random.integers(len(lines)))
    return b"".join(lines[:k] + ([lines[k]] * 2 if twice else []) + lines[k + 1 :])


def _replaced(content: bytearray, random: np.random.Generator, pattern: bytes, word: bytes) -> bytes:
    found = list(re.finditer(pattern, bytes(content)))
    if not found:
        return bytes(content) + word
    match = found[int(random.integers(len(found)))]
    return bytes(content[: match.start()]) + word + bytes(content[match.end() :])


_NUMBER, _FIELD = rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?", rb"[^,\t\n:{}\[\]\"]+"
_MUTATIONS = {
    "bit": _bit,
    "bytes": _bytes,
    "cut": lambda c, r: bytes(c[: _place(c, r)]),
    "double": _double,
    "empty": lambda c, r: b"",
    "zeros": _zeros,
    "line lost": lambda c, r: _lines(c, r, False),
    "line twice": lambda c, r: _lines(c, r, True),
    "field lost": lambda c, r: _replaced(c, r, _FIELD, b""),
    "word": lambda c, r: _replaced(c, r, _FIELD, str(r.choice(["null", "-7", "true", "{a}", "é", "../.."])).encode()),
    "letters": lambda c, r: bytes(c).swapcase(),
    "utf-16": lambda c, r: bytes(c).decode(errors="replace").encode("utf-16"),
    "long line": lambda c, r: bytes(c) + b"x" * (1 << 20),
    "no number": lambda c, r: _replaced(c, r, _NUMBER, str(r.choice(WORDS)).encode()),
}


def outcome(target: Target, path: Path, expected: str, way: str) -> tuple[str, str]:
    """How reading ended in a process of its own: ``read``, ``refused``, or a word for what must not be; and a line."""
    said = path.parent / "said"
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = CRASH
        try:
            status = _read(target, path, expected, way, said)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    line = (said.read_text(errors="replace").strip().splitlines() or [""])[-1] if said.exists() else ""
    said.unlink(missing_ok=True)
    words = {0: "read", SENTENCE: "refused", CRASH: "TRACEBACK", WRONG: "WRONG", -signal.SIGALRM: "TOO LONG"}
    return words.get(status, f"KILLED {status}"), line


def _read(target: Target, path: Path, expected: str, way: str, said: Path) -> int:
    signal.alarm(SECONDS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        content = target.read(path)
    except UserError as error:
        said.write_text(str(error))
        return SENTENCE
    except BaseException:  # noqa: BLE001 whatever it was, it is no sentence
        said.write_text(traceback.format_exc())
        return CRASH
    must_be_refused = way in ("empty", "no number") or (target.checked and content != expected)
    return WRONG if must_be_refused and content != expected else 0


def run(count: int, seed: int, names: list[str]) -> int:
    """Break inputs in turn; the number of outcomes that must not be, each printed."""
    wrong, totals = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        prepared = {name: _prepare(TARGETS[name], Path(folder) / str(k)) for k, name in enumerate(names)}
        for number in range(count):
            name = names[number % len(names)]
            path, good, expected = prepared[name]
            random = np.random.default_rng([seed, number])
            content, way = mutate(good, TARGETS[name], random)
            path.write_bytes(content)
            ended, line = outcome(TARGETS[name], path, expected, way) if content != good else ("read", "")
            path.write_bytes(good)
            totals[ended] = totals.get(ended, 0) + 1
            if ended not in ("read", "refused"):
                wrong += 1
                print(f"{ended}: {name}, {way}, number {number}, seed {seed}: {line[:200]}", flush=True)
    print(f"{count} inputs of {len(names)} kinds: " + ", ".join(f"{n} {ended}" for ended, n in totals.items()))
    return wrong


def _prepare(target: Target, folder: Path) -> tuple[Path, bytes, str]:
    """Make a good input in a process of its own, and read it."""
    path = folder / target.name
    (folder if target.name.startswith("a.zarr") else path.parent).mkdir(parents=True)
    child = os.fork()
    if child == 0:
        status = CRASH
        try:
            if target.name.startswith("run/"):
                shutil.rmtree(path.parent)
            target.make(path)
            (folder / "expected").write_text(target.read(path))
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"{target.name}: the good input could not be made")
    return path, path.read_bytes(), (folder / "expected").read_text()


def main() -> int:
    """Run the corpus; status 1 where an input ended wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"some of {', '.join(TARGETS)}; all where none is named")
    parser.add_argument("--count", type=int, default=300, help="inputs (300)")
    parser.add_argument("--seed", type=int, default=19, help="of the mutations (19)")
    options = parser.parse_args()
    return int(run(options.count, options.seed, options.targets or list(TARGETS)) > 0)


if __name__ == "__main__":
    sys.exit(main())

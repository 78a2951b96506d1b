"""Every benchmark in its small form: its ratio to the peer in the same run, beside the committed ratio.

    python benchmarks/all.py            # all of them, ten minutes at most on two quiet cores
    python benchmarks/all.py --quick    # those that are cheap, two minutes at most; CI runs these
    python benchmarks/all.py --only targets_postprocess labels
    python benchmarks/all.py --write    # keeps the ratios as benchmarks/results/ratios.tsv

Each runs in a process of its own on one thread. Ratios are of CPU time, the fastest of rounds in which both sides take
turns, so that they can be compared between machines, and with a load. It fails only where a benchmark crashes: a ratio
that fell is for a person to judge.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMITTED = HERE / "results" / "ratios.tsv"
COLUMNS = ("benchmark", "what", "ratio", "unit", "cpu_s")
# CPU seconds, imports among them, above which --quick leaves a benchmark out.
CHEAP = 13.0
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
Row = dict[str, str]


def find() -> tuple[list[str], list[str]]:
    """Names of the modules that have a small form, and of the others (read, not imported)."""
    names: tuple[list[str], list[str]] = ([], [])
    for path in sorted(set(HERE.glob("*.py")) - {HERE / "all.py", HERE / "ratio.py"}):
        functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        names["small" not in functions].append(path.stem)
    return names


def committed() -> dict[tuple[str, str], Row]:
    """Committed rows by benchmark and comparison; none where the file is absent."""
    if not COMMITTED.is_file():
        return {}
    with COMMITTED.open() as file:
        return {(row["benchmark"], row["what"]): row for row in csv.DictReader(file, delimiter="\t")}


def run(name: str) -> list[Row] | None:
    """Rows of one benchmark, run in a process of its own; None where it crashed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
    command = [sys.executable, "-W", "ignore", __file__, "--child", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return None
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = json.loads(done.stdout.splitlines()[-1])
    return [
        {"benchmark": name, "what": r["what"], "ratio": f"{r['value']:.2f}", "unit": r["unit"], "cpu_s": f"{spent:.1f}"}
        for r in found
    ]


def child(name: str) -> None:
    """Print the ratios of a benchmark as the last line, JSON."""
    tests = HERE.parent / "tests"
    sys.path[:0] = [str(HERE), str(HERE.parent / "workflow" / "scripts"), str(tests), str(tests / "cellvit")]
    ratios = importlib.import_module(name).small()
    print(json.dumps([asdict(ratio) for ratio in ratios]))


def line(row: Row, before: Row | None) -> str:
    """One line of the table."""
    earlier = before["ratio"] if before else "-"
    cells = (
        row["benchmark"],
        row["what"],
        row["ratio"],
        earlier,
        row["unit"],
        row["cpu_s"],
        f"{os.getloadavg()[0]:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def chosen(options: argparse.Namespace, names: list[str], before: dict[tuple[str, str], Row]) -> list[str]:
    """Benchmarks to run, cheapest first by their committed CPU seconds."""
    cost = {benchmark: float(row["cpu_s"]) for (benchmark, _), row in before.items()}
    names = [name for name in names if not options.only or name in options.only]
    if options.quick:
        names = [name for name in names if cost.get(name, 0.0) <= CHEAP]
    return sorted(names, key=lambda name: cost.get(name, 0.0))


def main() -> int:
    """Run as a program; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"leave out what costs more than {CHEAP:g} CPU seconds")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these benchmarks")
    parser.add_argument("--write", action="store_true", help="keep the ratios of what was run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    names, others = find()
    before = committed()
    wanted, rows, crashed = chosen(options, names, before), dict(before), []
    print("| benchmark | what | ratio | committed | unit | CPU s of all | load |\n|---|---|--:|--:|---|--:|--:|")
    for name in wanted:
        found = run(name)
        crashed += [] if found is not None else [name]
        for row in found or []:
            print(line(row, before.get((name, row["what"]))), flush=True)
        if found:
            rows = {key: row for key, row in rows.items() if key[0] != name}
            rows |= {(name, row["what"]): row for row in found}
    left = [name for name in names if name not in wanted]
    print(f"\nLeft out: {', '.join(left) or 'none'}. Without a small form: {', '.join(others)}.")
    if options.write:
        write(rows)
    if crashed:
        print(f"Crashed: {', '.join(crashed)}")
    return bool(crashed)


def write(rows: dict[tuple[str, str], Row]) -> None:
    """Keep the ratios."""
    with COMMITTED.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows[key] for key in sorted(rows))


if __name__ == "__main__":
    sys.exit(main())

"""Everything that can only be known on a GPU, in one command and under nine minutes.

    python benchmarks/gpu.py                       # on a machine with CUDA; writes gpu.json and gpu.md after each part
    python benchmarks/gpu.py --device cpu          # the same parts on cellvit-tiny at small size, as the tests run it

Parts, most telling first: `facts`, `correctness` (CPU against GPU), `waits` (where the host waits for the device),
`training` (every architecture: parts of a step, memory, frozen and learning, eager and compiled), `prediction` (patches
and tiles), `resumed` (a run stopped by a signal and continued), `variants` (what can be chosen, side by side),
`processes` (two on one device), `profile` (kernels). A part that fails is written down with its error and the next one
begins; parts that would begin after ``--minutes`` are left out. It needs torch with CUDA and the wheels that `facts`
lists where they are missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

#: Modules the parts import beside torch and the standard library, with the wheels that bring them.
WHEELS = {
    "numpy": "numpy",
    "numba": "numba",
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "tensorstore": "tensorstore",
    "lazy_loader": "lazy-loader",
    "matplotlib": "matplotlib",
}
#: Part -> the module beside this one that holds it.
PARTS = {
    "facts": "gpu_training",
    "correctness": "gpu_correctness",
    "waits": "gpu_training",
    "training": "gpu_training",
    "prediction": "gpu_prediction",
    "resumed": "gpu_training",
    "variants": "gpu_variants",
    "processes": "gpu_processes",
    "profile": "gpu_training",
}


def missing() -> list[str]:
    """Wheels that are not installed here."""
    return [wheel for module, wheel in WHEELS.items() if importlib.util.find_spec(module) is None]


def run_part(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One part: its rows, or its error."""
    started = time.perf_counter()
    try:
        module = importlib.import_module(PARTS[name])  # here: missing wheels are a line of the report, not its end
        rows = getattr(module, name)(options)
        entry: dict[str, Any] = {"rows": rows}
    except BaseException as error:  # noqa: BLE001 - whatever ends a part must not end the others
        if isinstance(error, KeyboardInterrupt):
            raise
        entry = {"error": f"{type(error).__name__}: {error}"[:2000], "traceback": traceback.format_exc()[-6000:]}
    return {**entry, "seconds": round(time.perf_counter() - started, 1)}


def write(report: dict[str, Any], out: Path) -> None:
    """Write ``gpu.json`` and ``gpu.md``; a kill at any time leaves the last whole ones."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("gpu.json", json.dumps(report, indent=1, default=str)), ("gpu.md", markdown(report))):
        (out / f"{name}.new").write_text(text)
        os.replace(out / f"{name}.new", out / name)


def markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    lines = [f"# GPU report: {report['device']}", "", f"`{report['command']}`, {report['date']}"]
    for name, part in report["parts"].items():
        lines += ["", f"## {name} ({part.get('seconds', 0)} s)", ""]
        if "rows" not in part:
            lines.append(part.get("error") or part.get("left_out", ""))
            continue
        columns = list(dict.fromkeys(key for row in part["rows"] for key in row))
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(shown(row.get(column, '')) for column in columns)} |" for row in part["rows"]]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """A cell of a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; the exit code is the number of parts that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1 or cpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8.0, help="no part begins later")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results"))
    options = parser.parse_args(arguments)
    started = time.monotonic()
    report: dict[str, Any] = {
        "command": "python benchmarks/gpu.py " + " ".join(arguments if arguments is not None else sys.argv[1:]),
        "date": time.strftime("%Y-%m-%d"),
        "device": options.device,
        "missing_wheels": missing(),
        "parts": {},
    }
    if report["missing_wheels"]:
        print(f"missing: pip install {' '.join(report['missing_wheels'])}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        options.folder, options.ends = Path(folder), started + 60 * options.minutes
        for name in options.parts:
            if time.monotonic() > options.ends:
                report["parts"][name] = {"left_out": f"left out: {options.minutes:g} minutes were over"}
            else:
                report["parts"][name] = run_part(name, options)
            part = report["parts"][name]
            print(f"{name}: {part.get('error', 'done')} ({part.get('seconds', 0)} s)", flush=True)
            write(report, options.out)
    print(markdown(report))
    return sum("error" in part for part in report["parts"].values())


if __name__ == "__main__":
    sys.exit(main())

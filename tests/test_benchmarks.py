"""Benchmarks: every one is on their page, and the runner of small forms reports crashes and nothing else."""

import importlib.util
import os
import subprocess
import sys

import pytest

from paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def runner():
    spec = importlib.util.spec_from_file_location("benchmarks_all", BENCHMARKS / "all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_benchmark_is_on_the_page(runner):
    small, others = runner.find()
    text = (BENCHMARKS / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name in small:
        assert any(row.startswith(f"| `{name}.py`") and "| yes |" in row for row in rows), name
    assert [name for name in others if f"{name}.py" not in text and not name.startswith("gpu_")] == []


def test_every_committed_ratio_belongs_to_a_benchmark(runner):
    rows = runner.committed()
    assert {name for name, _ in rows} == set(runner.find()[0])
    assert all(float(row["ratio"]) > 0 and row["unit"] for row in rows.values())


def test_quick_leaves_the_expensive_ones_out(runner):
    rows = {("a", "x"): {"cpu_s": "3"}, ("b", "x"): {"cpu_s": "99"}}

    class Options:
        quick, only = True, None

    assert runner.chosen(Options, ["a", "b", "new"], rows) == ["new", "a"]


@pytest.mark.parametrize(("body", "status"), [("[Ratio('a, b', 2.0)]", 0), ("1 / 0", 1)])
def test_it_fails_on_a_crash_alone(tmp_path, body, status):
    for name in ("all.py", "ratio.py"):
        (tmp_path / name).write_text((BENCHMARKS / name).read_text())
    (tmp_path / "toy.py").write_text(f"from ratio import Ratio\n\n\ndef small():\n    return {body}\n")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "all.py")], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == status
    assert ("| toy | a, b | 2.00 | - |" in done.stdout) == (status == 0)
    assert ("Crashed: toy" in done.stdout) == (status == 1)

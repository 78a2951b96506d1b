"""The command that proves a GPU, run whole on the CPU, and what it must survive."""

import json
import subprocess
import sys

import pytest

from paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
HEAVY = (
    "geopandas",
    "zarr",
    "anndata",
    "spatialdata",
    "shapely",
    "skimage",
    "kornia",
    "scanpy",
    "openslide",
    "tifffile",
)


@pytest.fixture
def gpu(monkeypatch):
    """The report's module; gone again afterwards, with what it imports from its folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu as module

    yield module
    for name in [name for name in sys.modules if name == "gpu" or name.startswith("gpu_")]:
        sys.modules.pop(name)


def test_the_whole_report_runs_on_a_cpu(gpu, tmp_path):
    """In this process, which has imported torch already."""
    failed = gpu.main(["--device", "cpu", "--minutes", "60", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "gpu.json").read_text())
    errors = {name: part.get("error") for name, part in report["parts"].items() if "rows" not in part}
    assert failed == 0 and not errors, errors
    parts = {name: part["rows"] for name, part in report["parts"].items()}
    assert set(parts) == {"facts", "correctness", "waits", "training", "prediction", "resumed"} | {
        "variants",
        "processes",
        "profile",
    }
    exact = [row for row in parts["correctness"] if "float16" not in row["compared"]]
    assert len(exact) > 15 and all(row["largest difference"] == 0 for row in exact if "bfloat" not in row["compared"])
    assert parts["training"][0]["patches/s in an epoch"] > 0 and parts["prediction"][0]["tiles/s"] > 0
    assert "stopped by SIGUSR1" in parts["resumed"][0]["stopped"]
    assert parts["resumed"][0]["largest difference of weights"] == 0
    assert parts["processes"][0]["largest difference"] < 1e-9 * parts["processes"][0]["of"]
    assert [row["ms"] > 0 for row in parts["variants"]] == [True] * 5  # SAM's positions twice in two ways, BatchNorm
    assert parts["profile"][0]["ms a step"] > 0
    assert "| cellvit-tiny |" in (tmp_path / "gpu.md").read_text()


def test_a_part_that_fails_is_written_down_and_the_next_begins(gpu, monkeypatch, tmp_path, capsys):
    class Parts:
        @staticmethod
        def facts(options):
            raise SystemExit("no such driver")

        @staticmethod
        def waits(options):
            assert json.loads((tmp_path / "gpu.json").read_text())["parts"]["facts"]["error"]  # written already
            return [{"line": "step.py:70", "waits": 1}]

    monkeypatch.setitem(sys.modules, "gpu_training", Parts)
    assert gpu.main(["--parts", "facts", "waits", "--out", str(tmp_path)]) == 1
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert "no such driver" in report["parts"]["facts"]["error"]
    assert report["parts"]["waits"]["rows"] == [{"line": "step.py:70", "waits": 1}]
    assert "| step.py:70 | 1 |" in (tmp_path / "gpu.md").read_text()


def test_parts_that_would_begin_too_late_are_left_out(gpu, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gpu_training", object())
    assert gpu.main(["--parts", "facts", "--minutes", "-1", "--out", str(tmp_path)]) == 0
    assert "left out" in json.loads((tmp_path / "gpu.json").read_text())["parts"]["facts"]["left_out"]


def test_missing_wheels_are_listed(gpu, monkeypatch, tmp_path, capsys):
    real = gpu.importlib.util.find_spec
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None if name in ("cv2", "yaml") else real(name))
    monkeypatch.setitem(sys.modules, "gpu_training", object())
    gpu.main(["--parts", "facts", "--out", str(tmp_path)])
    assert "pip install opencv-python-headless pyyaml" in capsys.readouterr().out


def test_training_and_prediction_of_patches_import_little():
    """On a bare GPU machine the listed wheels suffice: whatever else is imported fails here."""
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, {str(BENCHMARKS)!r})
sys.path.insert(0, {str(ROOT / "workflow" / "scripts")!r})
import gpu_training, gpu_correctness, gpu_prediction, gpu_processes, gpu_variants
import stnuclei.prediction.patches, stnuclei.training.launch
import gpu
outside = {{n.partition(".")[0] for n in sys.modules}} - set(sys.stdlib_module_names)
print(sorted(name for name in gpu.WHEELS if name not in outside))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"  # nothing is listed that is not needed

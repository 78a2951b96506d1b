"""Documents hold: examples and the notebook run, the page of public names is current, links lead somewhere."""

import importlib.util
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import tifffile

import stnuclei
from paths import DATA, ROOT

DOCS = ROOT / "docs"
MARKDOWN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config" / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.fixture(scope="module")
def folder(real_bundle, tmp_path_factory):
    """A working folder as the examples expect it: a run, a picture, a checkpoint."""
    made = tmp_path_factory.mktemp("examples")
    shutil.copytree(real_bundle, made / "xenium_run")
    picture = cv2.imread(str(DATA / "nucls" / "test_2.png"))[..., ::-1]
    tifffile.imwrite(made / "region.tif", np.ascontiguousarray(picture), photometric="rgb")
    model = stnuclei.build_model("cellvit-tiny", 6, 1)
    stnuclei.save_checkpoint(made / "checkpoint.pt", model, taxonomy="pannuke", tissues=["Breast"])
    return made


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.M | re.S)


def test_the_python_page_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    blocks = python_blocks(DOCS / "python.md")
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), {})
    text = capsys.readouterr().out
    assert "Neoplastic" in text and "nuclei lie on nuclei" in text
    assert (folder / "model" / "checkpoint.pt").stat().st_size > 0 and (folder / "slide_nuclei").is_dir()


def test_the_notebook_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    notebook = json.loads((DOCS / "first_steps.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 5 and not any(cell.get("outputs") for cell in notebook["cells"])
    names: dict = {}
    for cell in cells:
        exec(compile(cell, "docs/first_steps.ipynb", "exec"), names)
    assert "1456 cells" in capsys.readouterr().out
    assert set(names["nuclei"].columns) == {"class", "class_probability", "geometry"}


def test_the_page_of_public_names_is_current():
    spec = importlib.util.spec_from_file_location("write_api", DOCS / "write_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "api.md").read_text() == module.page(), "write it anew: python docs/write_api.py"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_no_document_asks_for_pythonpath(path):
    assert "PYTHONPATH" not in path.read_text()


def test_every_point_of_the_gpu_page_has_its_tests():
    rows = [line for line in (DOCS / "gpu.md").read_text().splitlines() if line.startswith("| G")]
    assert [row.split("|")[1].strip() for row in rows] == [f"G{k}" for k in range(1, 21)]
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            assert f"def {name}(" in (ROOT / file).read_text(), name

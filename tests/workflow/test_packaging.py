"""The wheel: complete, without the clone, from another folder."""

import os
import subprocess
import sys
import zipfile

import pytest

from paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel of a copy of the sources, which stay as they are; give the folder it unpacks to."""
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    wanted = ("workflow/scripts/stnuclei", "resources", "pyproject.toml", "setup.py", "MANIFEST.in")
    wanted += ("README.md", "LICENSE")
    for name in map(os.fsdecode, filter(None, files)):
        if name.startswith(wanted) and (ROOT / name).is_file():
            (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "src" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    done = subprocess.run([*command, str(folder / "src")], capture_output=True, text=True)
    if "No matching distribution" in done.stderr or "Could not find a version" in done.stderr:
        pytest.skip("setuptools cannot be fetched for the isolated build")
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = folder.glob("stnuclei-*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_brings_stubs_templates_and_tables(wheel):
    package = wheel / "stnuclei"
    for name in ("labels/__init__.pyi", "py.typed", "reporting/templates/report.html.j2", "shipped/published.yaml"):
        assert (package / name).is_file(), name
    for folder in ("markers", "taxonomies", "annotations"):
        shipped = {path.name for path in (package / "shipped" / folder).iterdir()}
        assert shipped == {path.name for path in (ROOT / "resources" / folder).iterdir()}
    entries = next(wheel.glob("*.dist-info/entry_points.txt")).read_text()
    assert "stnuclei = stnuclei.cli:main" in entries


def test_it_works_from_another_folder_without_the_clone(wheel, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-m", "stnuclei", "check"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"in {wheel / 'stnuclei' / 'shipped' / 'markers'}" in done.stdout
